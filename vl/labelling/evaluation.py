"""How well a labeller does on labelled photographs: labels seen in training, unseen, and both.

It knows embeddings and labels; where they are from does not matter.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from vl.data.words.labels import Label, UniqueLabels
from vl.data.words.wordnet import WordNet
from vl.labelling.examples import Examples
from vl.labelling.labeller import Candidates, Labeller
from vl.metrics.zero_shot import (
    KS,
    GeneralizedAccuracy,
    Ints,
    Ranking,
    ScoresAtK,
    generalized_accuracy,
    hierarchical_precision,
    hit_at_k,
    rank_labels,
)

_log = logging.getLogger(__name__)
_BINS = 15  # Guo et al. 2017
_NAMED = 3  # labels in a message


class Result(NamedTuple):
    """Photographs of one group, among one list of candidates."""

    name: str  # "unseen among unseen"
    labels: tuple[Label, ...]  # the candidates; `hits` has their numbers
    missing: tuple[str, ...]  # candidates without a vector
    truth: Ints  # (N,) number of each photograph's label
    lost: int  # photographs whose own label has no vector: misses
    hits: ScoresAtK
    precision: ScoresAtK | None  # hierarchical; None where a candidate is no synset
    calibration_error: float | None  # of the probability of the first label

    @property
    def images(self) -> int:
        """Photographs."""
        return len(self.hits.per_image)


class Rejection(NamedTuple):
    """What becomes of photographs where "none of these" is an answer."""

    rate: float  # of false accepts that was asked for
    false_accepts: float  # of photographs whose label is no candidate
    accepts: float  # of photographs whose label is one


class Evaluated(NamedTuple):
    """All figures."""

    results: tuple[Result, ...]
    generalised: dict[
        str, GeneralizedAccuracy
    ]  # by how seen labels are held back: "plain", "stacking"
    rejection: Rejection | None
    aside: int  # photographs that count nowhere: the training was judged by their labels


def evaluate(
    labeller: Labeller,
    vectors: Tensor,
    examples: Examples,
    candidates: Sequence[Label] | None = None,
    *,
    csls: bool = False,
    none_of_these: float | None = None,
    wordnet: WordNet | None = None,
) -> Evaluated:
    """Label photographs whose labels are known.

    Photographs with unseen labels are labelled among the unseen labels that photographs have, those
    with seen ones among the seen candidates, and both among all candidates. Labels that the
    training was judged and calibrated by are neither: their photographs are left out.

    Args:
        labeller: what is judged.
        vectors: embeddings of the photographs, ``(N, image width)``.
        examples: their labels.
        candidates: all of them; by default the photographs' labels and those trained on. Which of
            these are one label, ``UniqueLabels`` says.
        csls: take hubs back; see ``Labeller.candidates``.
        none_of_these: rate of false accepts to be tried; where it cannot be, a warning says why.
        wordnet: for hierarchical precision; by default the labeller's own.

    Raises:
        ValueError: there is no photograph, one's label is no candidate, or see
            ``Labeller.candidates``.
    """
    judge = _Judge(labeller, vectors, examples, candidates, csls=csls, wordnet=wordnet)
    rejection = None
    if none_of_these is not None:
        try:
            rejection = judge.rejection(none_of_these)
        except ValueError as reason:  # all else can still be told
            _log.warning("none of these: %s", reason)
    results = []
    calibrated = labeller.calibration is not None
    for group in ("unseen", "seen"):
        results += judge.result(group, group)
        results += judge.result(group, "all")
        if calibrated and judge.has("seen", candidates=True):
            results += judge.result(group, "all", stacking=True)
    both: dict[str, GeneralizedAccuracy] = {}
    if judge.has("seen") and judge.has("unseen"):
        both["plain"] = judge.generalised(stacking=False)
        if calibrated:
            both["stacking"] = judge.generalised(stacking=True)
    return Evaluated(tuple(results), both, rejection, judge.aside)


class _Judge:
    def __init__(
        self,
        labeller: Labeller,
        vectors: Tensor,
        examples: Examples,
        candidates: Sequence[Label] | None,
        *,
        csls: bool,
        wordnet: WordNet | None,
    ) -> None:
        self._labeller = labeller
        self._wordnet = labeller.space.wordnet if wordnet is None else wordnet
        self._csls = csls
        self._projected = labeller.project(vectors)
        given = [*examples.labels, *labeller.seen] if candidates is None else candidates
        numbering = UniqueLabels()
        for label in given:
            numbering.add(label)
        count = len(numbering.labels)
        own = {number: numbering.add(examples.labels[number]) for number in set(examples.of)}
        self._labels = numbering.labels[:count]
        lacking = [label.text for label in numbering.labels[count:]]
        if lacking:
            raise ValueError(
                f"{len(lacking)} labels of photographs are no candidates: "
                f"{', '.join(map(repr, lacking[:_NAMED]))}{', ...' if lacking[_NAMED:] else ''}"
            )
        self._truth = np.array([own[number] for number in examples.of], dtype=np.int64)
        self._seen = np.array(
            [labeller.is_seen(label.text, label.synset) for label in self._labels]
        )
        places = labeller.space.embed(
            [label.text for label in self._labels], [label.synset for label in self._labels]
        )
        self._placed = ~np.isnan(places.vectors[:, 0])
        aside = ~self._seen & np.array(
            [labeller.is_aside(label.text, label.synset) for label in self._labels]
        )
        self.aside = int(aside[self._truth].sum())
        if self.aside == len(self._truth):
            raise ValueError(
                "the training was judged by all labels of these photographs; they say nothing new"
            )
        self._of = {
            "seen": self._seen[self._truth],
            "unseen": ~(self._seen | aside)[self._truth],
        }

    def has(self, group: str, *, candidates: bool = False) -> bool:
        """Whether a photograph, or else a candidate, is of a group."""
        if candidates:
            return len(self._numbers(group)) > 0
        return bool(self._of[group].any())

    def result(self, group: str, among: str, *, stacking: bool = False) -> list[Result]:
        """One result; none without photographs, without vectors, or where ``all`` adds nothing."""
        numbers = self._numbers(among)
        if not self.has(group) or (among == "all" and len(numbers) == len(self._numbers(group))):
            return []
        if not self._placed[numbers].any() and self._placed.any():
            _log.warning("%s among %s: no candidate has a vector, so all are misses", group, among)
            return []
        candidates = self._candidates(numbers, stacking=stacking)
        rows = np.flatnonzero(self._of[group])
        ranking = self._ranked(candidates, numbers, rows)
        return [
            Result(
                name=f"{group} among {among}{', stacking' if stacking else ''}",
                missing=tuple(candidates.placed.missing),
                truth=ranking.targets,
                lost=ranking.num_unranked,
                labels=tuple(self._labels[number] for number in numbers.tolist()),
                hits=hit_at_k(ranking),
                precision=self._precision(ranking, numbers),
                calibration_error=self._calibration_error(candidates, rows, ranking),
            )
        ]

    def generalised(self, *, stacking: bool) -> GeneralizedAccuracy:
        numbers = self._numbers("all")
        candidates = self._candidates(numbers, stacking=stacking)
        rows = np.flatnonzero(self._of["seen"] | self._of["unseen"])
        ranking = self._ranked(candidates, numbers, rows)
        return generalized_accuracy(ranking, self._seen[numbers])

    def rejection(self, rate: float) -> Rejection:
        """Photographs of unseen labels among those, and among the seen, where theirs is missing."""
        if not self.has("unseen"):
            raise ValueError("no photograph has an unseen label: nothing can be none of these")
        if not self.has("seen", candidates=True):
            raise ValueError(
                "no candidate was trained on: there are none that no photograph shows, and nothing "
                "can be none of these"
            )
        projected = self._projected[np.flatnonzero(self._of["unseen"])]
        shares = []
        for group in ("seen", "unseen"):
            candidates = self._candidates(self._numbers(group))
            answers = self._labeller.answers(projected, candidates, top=1, none_of_these=rate)
            shares.append(1 - sum(answer.none_of_these for answer in answers) / len(answers))
        return Rejection(rate, *shares)

    def _numbers(self, among: str) -> Ints:
        if among == "unseen":
            return np.unique(self._truth[self._of["unseen"]])
        chosen = self._seen if among == "seen" else np.ones_like(self._seen)
        return np.flatnonzero(chosen).astype(np.int64)

    def _candidates(self, numbers: Ints, *, stacking: bool = False) -> Candidates:
        chosen = [self._labels[number] for number in numbers.tolist()]
        return self._labeller.candidates(
            [label.text for label in chosen],
            [label.synset for label in chosen],
            stacking=stacking,
            csls=self._csls,
        )

    def _ranked(self, candidates: Candidates, numbers: Ints, rows: Ints) -> Ranking:
        """Truths are numbers among the candidates."""
        truth = np.searchsorted(numbers, self._truth[rows])
        return rank_labels(
            self._projected[rows].cpu().numpy(),
            candidates.vectors.cpu().numpy(),
            truth,
            penalty=candidates.penalty.cpu().numpy(),
            depth=KS[-1],
        )

    def _precision(self, ranking: Ranking, numbers: Ints) -> ScoresAtK | None:
        if self._wordnet is None:
            return None
        synsets = [self._labels[number].synset for number in numbers.tolist()]
        known = [each for each in synsets if each is not None and each in self._wordnet]
        if len(known) < len(synsets):
            _log.info(
                "no hierarchical precision: %d of %d candidates have no WordNet id",
                len(synsets) - len(known),
                len(synsets),
            )
            return None
        return hierarchical_precision(ranking, self._wordnet, known)

    def _calibration_error(
        self, candidates: Candidates, rows: Ints, ranking: Ranking
    ) -> float | None:
        """How far the first label's probability is from how often it is right (Guo et al. 2017)."""
        if self._labeller.calibration is None:
            return None
        answers = self._labeller.answers(self._projected[rows], candidates, top=1)
        said = np.array([answer.labels[0].probability for answer in answers], np.float64)
        right = ranking.top[:, 0] == ranking.targets
        bins = np.minimum((said * _BINS).astype(np.int64), _BINS - 1)
        gaps = np.bincount(bins, said - right, minlength=_BINS)
        return float(np.abs(gaps).sum() / len(said))
