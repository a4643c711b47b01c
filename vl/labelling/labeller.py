"""Photographs to ranked labels out of any list: encoder, projection and word vectors as one thing.

labeller = vl.Labeller.load("labeller.safetensors")
labeller([Path("photo.jpg")], labels=["okapi", "electric guitar"])[0].labels[0].text
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vl.data.errors import FormatError
from vl.data.files import first_few
from vl.data.images.decode import ImageLike
from vl.data.words.label_space import LabelSpace, LabelVectors
from vl.data.words.labels import Label, LabelIndex
from vl.data.words.vectors import WordVectors
from vl.encoding.embedder import Embedder
from vl.labelling import labeller_file as labeller_bundle
from vl.labelling.calibration import Calibration, threshold
from vl.labelling.labeller_file import PROJECTIONS, Parts, Projection
from vl.search.nearest import NearestNeighbors, hub_penalty


class Prediction(NamedTuple):
    """A label for a photograph."""

    text: str
    cosine: float  # between the photograph and the label, in word space
    probability: float | None  # among the candidates; None if the labeller was never calibrated
    number: int = -1  # of the label among the candidates


class Answer(NamedTuple):
    """What a photograph shows."""

    labels: tuple[Prediction, ...]  # the best first
    none_of_these: bool  # the best label is no nearer than for photographs of something else


class Candidates(NamedTuple):
    """Labels that photographs may get, ready to be compared with."""

    texts: tuple[str, ...]
    placed: LabelVectors
    vectors: Tensor  # (K, D); NaN for a label without
    seen: Tensor  # (K,) bool: trained on
    penalty: Tensor  # (K,) subtracted from each label's cosine
    neighbors: NearestNeighbors


class Labeller:
    """Says which of some labels a photograph shows; it need not be trained on any of them.

    Args:
        embedder: images to embeddings; the projections get the mean over its views.
        projections: embeddings into word space, by name in ``PROJECTIONS``; of several, the mean
            of their directions counts.
        space: the place of every label in word space.
        seen: the labels that were trained on.
        aside: those that were put aside to judge the training and to calibrate by.
        calibration: what scores mean; without one there are no probabilities.
        training: what it was trained on and how, for people to read.

    Raises:
        ValueError: the parts do not belong together.
    """

    def __init__(
        self,
        embedder: Embedder,
        projections: Mapping[str, Projection],
        space: LabelSpace,
        *,
        seen: Sequence[Label],
        aside: Sequence[Label] = (),
        calibration: Calibration | None = None,
        training: dict[str, Any] | None = None,
    ) -> None:
        if not projections:
            raise ValueError("a labeller needs at least one projection")
        for name, projection in projections.items():
            if not isinstance(projection, PROJECTIONS[name]):
                raise ValueError(f"projection {name!r} is a {type(projection).__name__}")
            if projection.width != space.width:
                raise ValueError(
                    f"projection {name!r} leads to width {projection.width}, "
                    f"the words have width {space.width}"
                )
            if projection.image_width != embedder.width:
                raise ValueError(
                    f"the encoder gives width {embedder.width}, "
                    f"projection {name!r} expects {projection.image_width}"
                )
        if calibration and calibration.references.shape[1:] != (space.width,):
            shape = tuple(calibration.references.shape)
            raise ValueError(f"references have shape {shape}, the words width {space.width}")
        self.embedder = embedder
        self.device = embedder.device
        self.projections = {
            name: projection.eval().to(self.device) for name, projection in projections.items()
        }
        self.space = space
        self.seen = tuple(seen)
        self.calibration = calibration
        # The threshold that was asked for last, and of what.
        self._limit: tuple[Calibration, NearestNeighbors, float, float] | None = None
        self.training = training or {}
        self.aside = tuple(aside)
        self._seen_index, self._aside_index = LabelIndex(self.seen), LabelIndex(self.aside)

    @property
    def width(self) -> int:
        """Numbers in a vector of word space."""
        return self.space.width

    @property
    def words(self) -> WordVectors:
        """All words that have a vector."""
        return self.space.words

    @classmethod
    def load(cls, path: Path | str, *, device: torch.device | str = "cpu") -> "Labeller":
        """A labeller from its file.

        Raises:
            FormatError: the file is not a labeller, or its parts disagree.
            FileNotFoundError: there is no such file.
        """
        parts = labeller_bundle.read(path, device=device)
        try:
            return cls(
                parts.embedder,
                parts.projections,
                parts.space,
                seen=parts.seen,
                aside=parts.aside,
                calibration=parts.calibration,
                training=parts.training,
            )
        except ValueError as cause:
            raise FormatError(path, str(cause)) from cause

    def save(self, path: Path | str) -> None:
        """Write the labeller as one file, whole or not at all.

        Raises:
            OSError: the place cannot be written to.
        """
        parts = Parts(
            embedder=self.embedder,
            projections=self.projections,
            space=self.space,
            seen=self.seen,
            aside=self.aside,
            calibration=self.calibration,
            training=self.training,
        )
        labeller_bundle.write(path, parts)

    def __call__(
        self,
        images: Sequence[ImageLike],
        *,
        labels: Sequence[str] | Candidates,
        top: int = 5,
        none_of_these: float | None = None,
        batch_size: int = 32,
    ) -> list[Answer]:
        """The labels of photographs.

        Args:
            images: of any kind that an ``Embedder`` takes.
            labels: what they may be called; commas within one part its synonyms. For many calls
                with the same ones, or other settings, see ``candidates``.
            top: labels of each image; fewer where there are no more.
            none_of_these: share of photographs of something else that may get a label even so;
                by default nothing is called none of these.
            batch_size: images at once; changes no label.

        Raises:
            FormatError: a file is not a photograph.
            ValueError: no label has a vector, ``top`` or the batch is below 1, or ``none_of_these``
                cannot be told.
        """
        if batch_size < 1:
            raise ValueError(f"batch size is {batch_size}; it must be at least 1")
        if isinstance(labels, str):
            raise ValueError(f"labels is the string {labels!r}; a list of labels was expected")
        if not isinstance(labels, Candidates):
            labels = self.candidates(labels)
        answers: list[Answer] = []
        for begin in range(0, len(images), batch_size):
            vectors = self.project(self.embedder(images[begin : begin + batch_size]).mean(1))
            answers += self.answers(vectors, labels, top=top, none_of_these=none_of_these)
        return answers

    @torch.no_grad()
    def project(self, vectors: Tensor) -> Tensor:
        """Embeddings ``(B, image width)`` into word space, ``(B, D)``, of unit length."""
        return self.projected(vectors)

    def projected(self, vectors: Tensor) -> Tensor:
        """The same with its gradients."""
        vectors = vectors.to(self.device)
        parts = [F.normalize(each(vectors), dim=1) for each in self.projections.values()]
        return F.normalize(torch.stack(parts).mean(0), dim=1)

    def candidates(
        self,
        labels: Sequence[str],
        ids: Sequence[str | None] | None = None,
        *,
        stacking: bool = False,
        csls: bool = False,
        advance: Callable[[int], object] | None = None,
    ) -> Candidates:
        """Labels that photographs may get; what is prepared here serves any number of them.

        Args:
            labels: commas within one part its synonyms.
            ids: of each its synset in WordNet, where it is known.
            stacking: take a constant off labels that were trained on, which otherwise come before
                all others (calibrated stacking, Chao et al. 2016).
            csls: take off each label's cosine how near it is to photographs in general, half the
                mean of its 10 nearest (CSLS, Conneau et al. 2018).
            advance: is told from time to time how many labels have been placed since.

        Raises:
            ValueError: there is no label, or none has a vector; or the labeller was not calibrated,
                which ``stacking`` and ``csls`` want.
        """
        if not labels:
            raise ValueError("there are no labels")
        placed = self.space.embed(labels, ids, advance=advance)
        if len(placed.missing) == len(labels):
            some = first_few(labels)
            raise ValueError(f"none of {len(labels)} labels has a vector: {some}")
        given = ids if ids is not None else [None] * len(labels)
        return self._prepared(placed, given, stacking=stacking, csls=csls)

    def all_words(self) -> Candidates:
        """The words there are, as candidates; with kinds, those that WordNet has."""
        placed = self.space.all_words()
        unknown = [None] * len(placed.synsets)  # senses there are only guessed
        return self._prepared(placed, unknown, stacking=False, csls=False)

    def answers(
        self,
        projected: Tensor,
        candidates: Candidates,
        *,
        top: int = 5,
        none_of_these: float | None = None,
    ) -> list[Answer]:
        """The labels of photographs that are in word space already, ``(B, D)``.

        Raises:
            ValueError: as of the call.
        """
        limit = -torch.inf
        if none_of_these is not None:
            limit = self.threshold(candidates, none_of_these)
        # More places than labels would only be memory.
        found = candidates.neighbors.nearest(projected, top_k=min(top, len(candidates.texts)))
        cosines = found.scores + candidates.penalty[found.indices.clamp(min=0)]
        chances: Tensor | None = None
        if self.calibration:
            temperature = self.calibration.temperature_for(all_seen=bool(candidates.seen.all()))
            total = candidates.neighbors.logsumexp(projected, temperature=temperature)
            chances = (found.scores / temperature - total[:, None]).exp()
        answers = []
        for row, numbers in enumerate(found.indices.tolist()):
            labels = tuple(
                Prediction(
                    candidates.texts[number],
                    float(cosines[row, place]),
                    None if chances is None else float(chances[row, place]),
                    number,
                )
                for place, number in enumerate(numbers)
                if number >= 0
            )
            answers.append(Answer(labels, bool(found.scores[row, 0] <= limit)))
        return answers

    def threshold(self, candidates: Candidates, false_accepts: float) -> float:
        """The score that the best label must exceed, or the photograph shows none of these.

        Raises:
            ValueError: the labeller was not calibrated, or see ``calibration.threshold``.
        """
        calibration = self._calibrated("none of these")
        match self._limit:  # of many candidates it takes as long as a batch of photographs
            case (before, labels, rate, limit) if (
                before is self.calibration
                and labels is candidates.neighbors
                and rate == false_accepts
            ):
                return limit
        limit = threshold(
            calibration, candidates.neighbors, candidates.vectors, false_accepts=false_accepts
        )
        if self.calibration is not None:
            self._limit = (self.calibration, candidates.neighbors, false_accepts, limit)
        return limit

    def is_seen(self, label: str, synset: str | None = None) -> bool:
        """Whether the projection was trained on a label.

        Two that have ids are the same if those are; of others the first name counts, among all the
        names of labels that were trained on.
        """
        return bool(self._seen_index.find(Label(label, synset)))

    def is_aside(self, label: str, synset: str | None = None) -> bool:
        """Whether the training was judged and calibrated by a label; compared in the same way."""
        return bool(self._aside_index.find(Label(label, synset)))

    def _prepared(
        self, placed: LabelVectors, ids: Sequence[str | None], *, stacking: bool, csls: bool
    ) -> Candidates:
        texts = placed.coverage.labels
        vectors = torch.from_numpy(placed.vectors).to(self.device)
        seen = torch.tensor([self.is_seen(text, name) for text, name in zip(texts, ids)])
        less = torch.zeros(len(texts), device=self.device)
        if csls:
            less = less + hub_penalty(vectors, self._calibrated("CSLS").references)
        if stacking:
            less = less + self._calibrated("stacking").seen_penalty * seen.to(less)
        return Candidates(
            texts, placed, vectors, seen, less, NearestNeighbors(vectors, penalty=less)
        )

    def _calibrated(self, wanted: str) -> Calibration:
        if self.calibration is None:
            raise ValueError(
                f"{wanted} wants a calibrated labeller: one trained with a development split"
            )
        return self.calibration._replace(
            references=self.calibration.references.to(self.device),
            truths=self.calibration.truths.to(self.device),
        )
