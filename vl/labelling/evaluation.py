"""Evaluating a labeller on labelled images: seen labels, unseen labels, and both together."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vl.data.files import first_few
from vl.data.words.label_lists import read_labels
from vl.data.words.label_tables import DEFAULT_COLUMNS, LabelColumns
from vl.data.words.labels import Label, UniqueLabels
from vl.data.words.wordnet import WordNet
from vl.labelling.candidates import Candidates
from vl.labelling.evaluation_results import GroupResult, LabelEvaluation, Rejection
from vl.labelling.examples import EmbeddedExamples, load_examples
from vl.labelling.labeller import Labeller
from vl.metrics.ngrams import Ints
from vl.metrics.zero_shot import (
    KS,
    GeneralizedAccuracy,
    Ranking,
    ScoresAtK,
    generalized_accuracy,
    hierarchical_precision,
    hit_at_k,
    rank_labels,
)
from vl.version import __version__

_log = logging.getLogger(__name__)
_BINS = 15  # Guo et al. 2017
_NAMED = 10  # labels without a vector that are named; ``per_class`` has all


def evaluate_labels(
    images: Sequence[Path],
    labeller: Labeller,
    *,
    embeddings: Path | None = None,
    labels: str | None = None,
    columns: LabelColumns = DEFAULT_COLUMNS,
    csls: bool = False,
    none_of_these: float | None = None,
    wordnet: Path | None = None,
) -> LabelEvaluation:
    """Evaluate a labeller on files; see ``evaluate``, ``read_examples`` and ``read_labels``.

    Raises:
        ValueError: the labeller is not calibrated, which ``csls`` and ``none_of_these`` need; no
            image can be read; or see ``evaluate``.
        FormatError: a file is not what it should be.
        OSError: a file cannot be read.
    """
    if csls or none_of_these is not None:
        labeller.require_calibration("CSLS" if csls else "none of these")
    net = labeller.space.wordnet if wordnet is None else WordNet.load(wordnet)
    lemmas = None if net is None else net.lemmas()
    candidates = None
    if labels is not None:
        listed = read_labels(labels, lemmas=lemmas, columns=columns)
        candidates = listed.labels
        for note in listed.notes:
            _log.info("candidates: %s", note)
    embedded = load_examples(labeller.embedder, images, embeddings, lemmas=lemmas)
    evaluation = evaluate(
        labeller, embedded, candidates, csls=csls, none_of_these=none_of_these, wordnet=net
    )
    if count := evaluation.excluded:
        _log.info("%d images are in no group: their labels validated the training", count)
    for result in evaluation.results:
        if result.missing:
            _log.info(
                "%s: %d of %d candidates have no vector: %s; %d images have such a label",
                result.name,
                len(result.missing),
                len(result.labels),
                first_few(result.missing, limit=_NAMED),
                result.lost,
            )
    return evaluation


def evaluate(
    labeller: Labeller,
    embedded: EmbeddedExamples,
    candidates: Sequence[Label] | None = None,
    *,
    csls: bool = False,
    none_of_these: float | None = None,
    wordnet: WordNet | None = None,
) -> LabelEvaluation:
    """Evaluate a labeller on embeddings.

    Images with unseen labels are ranked among the unseen labels that images have, those with seen
    ones among the seen candidates, and both among all candidates. Labels that validated the
    training and calibrated the labeller are neither: their images are excluded.

    Args:
        labeller: the model.
        embedded: the images.
        candidates: all of them; by default the images' labels and the seen ones. Which of them are
            the same label, ``UniqueLabels`` decides.
        csls: see ``Labeller.candidates``.
        none_of_these: rate of false accepts to evaluate; if it cannot be, a warning says why.
        wordnet: for hierarchical precision; by default the labeller's own.

    Raises:
        ValueError: there is no image, an image's label is no candidate, or see
            ``Labeller.candidates``.
    """
    evaluator = _Evaluator(labeller, embedded, candidates, csls=csls, wordnet=wordnet)
    rejection = None
    if none_of_these is not None:
        try:
            rejection = evaluator.rejection(none_of_these)
        except ValueError as reason:  # all else can still be evaluated
            _log.warning("none of these: %s", reason)
    results = []
    calibrated = labeller.calibration is not None
    for group in ("unseen", "seen"):
        results += evaluator.result(group, group)
        results += evaluator.result(group, "all")
        if calibrated and evaluator.seen.any():
            results += evaluator.result(group, "all", calibrated_stacking=True)
    generalized: dict[str, GeneralizedAccuracy] = {}
    if evaluator.has_images("seen") and evaluator.has_images("unseen"):
        generalized["plain"] = evaluator.generalized()
        if calibrated:
            generalized["calibrated"] = evaluator.generalized(calibrated_stacking=True)
    projections = " + ".join(sorted(labeller.projections))
    signature = (
        f"{projections} | {len(labeller.seen)} seen labels | csls {'on' if csls else 'off'} | "
        f"vl {__version__}"
    )
    return LabelEvaluation(
        tuple(results), generalized, rejection, evaluator.excluded, embedded.failed, signature
    )


class _Evaluator:
    """Images, their labels as indices of the candidates, and the groups of both."""

    def __init__(
        self,
        labeller: Labeller,
        embedded: EmbeddedExamples,
        candidates: Sequence[Label] | None,
        *,
        csls: bool,
        wordnet: WordNet | None,
    ) -> None:
        self._labeller = labeller
        self._wordnet = labeller.space.wordnet if wordnet is None else wordnet
        self._csls = csls
        self._projected = labeller.project(embedded.vectors.mean(1))
        examples = embedded.examples
        unique = UniqueLabels()
        for label in (*examples.labels, *labeller.seen) if candidates is None else candidates:
            unique.add(label)
        count = len(unique.labels)
        position = {i: unique.add(examples.labels[i]) for i in set(examples.targets)}
        self._labels = unique.labels[:count]
        if missing := [label.text for label in unique.labels[count:]]:
            raise ValueError(
                f"{len(missing)} labels of images are no candidates: {first_few(missing)}"
            )
        self._targets = np.array([position[i] for i in examples.targets], dtype=np.int64)
        self.seen = np.array([labeller.is_seen(label) for label in self._labels])
        development = np.array([labeller.is_development(label) for label in self._labels])
        excluded = ~self.seen & development
        self._has_vector = labeller.candidates(self._labels).neighbors.valid.cpu().numpy()
        self.excluded = int(excluded[self._targets].sum())
        if self.excluded == len(self._targets):
            raise ValueError("the labels of all images validated the training; use other images")
        self._in_group = {
            "seen": self.seen[self._targets],
            "unseen": ~(self.seen | excluded)[self._targets],
        }

    def has_images(self, group: str) -> bool:
        return bool(self._in_group[group].any())

    def result(
        self, group: str, among: str, *, calibrated_stacking: bool = False
    ) -> list[GroupResult]:
        """One result; none without images, without vectors, or where ``all`` adds nothing."""
        indices = self._indices(among)
        adds_nothing = among == "all" and len(indices) == len(self._indices(group))
        if not self.has_images(group) or adds_nothing:
            return []
        if not self._has_vector[indices].any():
            _log.warning("%s among %s: no candidate has a vector, so all are misses", group, among)
            return []
        candidates = self._candidates(indices, calibrated_stacking=calibrated_stacking)
        rows = np.flatnonzero(self._in_group[group])
        ranking = self._rank(candidates, indices, rows)
        return [
            GroupResult(
                name=f"{group} among {among}{', calibrated' * calibrated_stacking}",
                labels=candidates.labels,
                missing=tuple(candidates.label_vectors.missing),
                targets=ranking.targets,
                lost=ranking.num_unranked,
                hits=hit_at_k(ranking),
                precision=self._precision(ranking, candidates.labels),
                calibration_error=self._calibration_error(candidates, rows, ranking),
            )
        ]

    def generalized(self, *, calibrated_stacking: bool = False) -> GeneralizedAccuracy:
        indices = self._indices("all")
        candidates = self._candidates(indices, calibrated_stacking=calibrated_stacking)
        rows = np.flatnonzero(self._in_group["seen"] | self._in_group["unseen"])
        return generalized_accuracy(self._rank(candidates, indices, rows), self.seen[indices])

    def rejection(self, rate: float) -> Rejection:
        """Images of unseen labels among those, and among the seen, where theirs is missing."""
        if not self.has_images("unseen"):
            raise ValueError("no image has an unseen label")
        if not self.seen.any():
            raise ValueError("no candidate is a seen label, to be those that no image shows")
        projected = self._projected[np.flatnonzero(self._in_group["unseen"])]
        accepted = []
        for group in ("seen", "unseen"):
            candidates = self._candidates(self._indices(group))
            threshold = self._labeller.threshold(candidates, rate)
            answers = self._labeller.predict(projected, candidates, top_k=1, threshold=threshold)
            accepted.append(1 - sum(answer.none_of_these for answer in answers) / len(answers))
        return Rejection(rate, *accepted)

    def _indices(self, among: str) -> Ints:
        """Of the candidates of a group, or of all."""
        if among == "unseen":
            return np.unique(self._targets[self._in_group["unseen"]])
        chosen = self.seen if among == "seen" else np.ones_like(self.seen)
        return np.flatnonzero(chosen).astype(np.int64)

    def _candidates(self, indices: Ints, *, calibrated_stacking: bool = False) -> Candidates:
        return self._labeller.candidates(
            [self._labels[index] for index in indices.tolist()],
            calibrated_stacking=calibrated_stacking,
            csls=self._csls,
        )

    def _rank(self, candidates: Candidates, indices: Ints, rows: Ints) -> Ranking:
        return rank_labels(
            self._projected[rows].cpu().numpy(),
            candidates.vectors.cpu().numpy(),
            np.searchsorted(indices, self._targets[rows]),
            penalty=candidates.penalty.cpu().numpy(),
            depth=KS[-1],
        )

    def _precision(self, ranking: Ranking, labels: Sequence[Label]) -> ScoresAtK | None:
        if self._wordnet is None:
            return None
        synsets = [label.synset or "" for label in labels]
        if without := sum(synset not in self._wordnet for synset in synsets):
            total = len(synsets)
            _log.info(
                "no hierarchical precision: %d of %d candidates have no WordNet id", without, total
            )
            return None
        return hierarchical_precision(ranking, self._wordnet, synsets)

    def _calibration_error(
        self, candidates: Candidates, rows: Ints, ranking: Ranking
    ) -> float | None:
        """Expected calibration error of the first label's probability (Guo et al. 2017)."""
        if self._labeller.calibration is None:
            return None
        answers = self._labeller.predict(self._projected[rows], candidates, top_k=1)
        probabilities = np.array([a.predictions[0].probability for a in answers], np.float64)
        correct = ranking.top[:, 0] == ranking.targets
        bins = np.minimum((probabilities * _BINS).astype(np.int64), _BINS - 1)
        gaps = np.bincount(bins, probabilities - correct, minlength=_BINS)
        return float(np.abs(gaps).sum() / len(probabilities))
