"""Images to ranked labels out of any list: embedder, projections and label space as one model.

labeller = vl.Labeller.load("labeller.safetensors")
labeller([Path("photo.jpg")], labels=["okapi", "guitar"])[0].predictions[0].text
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vl.data.download import hub
from vl.data.errors import FormatError
from vl.data.files import first_few
from vl.data.images.decode import ImageLike
from vl.data.words.label_space import LabelSpace
from vl.data.words.labels import Label, LabelIndex
from vl.encoding.embedder import Embedder
from vl.labelling import labeller_file
from vl.labelling.calibration import Calibration, rejection_threshold
from vl.labelling.candidates import Answer, Candidates, Prediction
from vl.labelling.labeller_file import PROJECTIONS, LabellerParts, Projection
from vl.search.nearest import NearestNeighbors, hub_penalty


class AnswerBatch(NamedTuple):
    """Labels of a batch of files."""

    indices: list[int]  # of the files that were read
    answers: list[Answer]  # of each of them
    failures: list[tuple[int, Exception]]  # index of each other file, and its error


class Labeller:
    """Ranks any labels by how well they fit an image; it need not be trained on any of them.

    Args:
        embedder: images to embeddings; the projections get the mean over its views.
        projections: embeddings into word space, by name in ``PROJECTIONS``; of several, the mean
            of their directions counts.
        space: labels into word space.
        seen: the labels that were trained on.
        development: the labels that validated the training and calibrated the labeller.
        calibration: of the scores; without it there are no probabilities.
        training: on what and how it was trained, for the reader.

    Raises:
        ValueError: the parts do not match.
    """

    def __init__(
        self,
        embedder: Embedder,
        projections: Mapping[str, Projection],
        space: LabelSpace,
        *,
        seen: Sequence[Label],
        development: Sequence[Label] = (),
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
        self.development = tuple(development)
        self.calibration = calibration
        self.training = training or {}
        self._seen_index, self._development_index = LabelIndex(seen), LabelIndex(development)

    @classmethod
    def load(cls, path: Path | str, *, device: torch.device | str = "cpu") -> "Labeller":
        """A labeller from its file.

        Raises:
            FormatError: the file is not a labeller, or its parts do not match.
            FileNotFoundError: there is no such file.
        """
        try:
            return cls(**labeller_file.read(path, device=device)._asdict())
        except FormatError:
            raise
        except ValueError as cause:
            raise FormatError(path, str(cause)) from cause

    @classmethod
    def from_pretrained(
        cls,
        where: Path | str,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: Path | str | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        device: torch.device | str = "cpu",
    ) -> "Labeller":
        """A labeller from a file, a folder, or the Hugging Face Hub: ``"owner/name"``.

        The arguments and errors are those of ``vl.data.download.hub.find_model`` and of ``load``.
        """
        path = hub.find_model(
            where,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
        )
        return cls.load(path, device=device)

    save_pretrained = hub.save_pretrained
    push_to_hub = hub.push_to_hub

    @property
    def encoder_name(self) -> str:
        """Of the encoder, in the table of encoders."""
        return self.embedder.encoder_name

    def save(self, path: Path | str) -> None:
        """Write the labeller as one file, atomically.

        Raises:
            OSError: the file cannot be written.
        """
        parts = LabellerParts(*(getattr(self, name) for name in LabellerParts._fields))
        labeller_file.write(path, parts)

    def __call__(
        self,
        images: Sequence[ImageLike],
        *,
        labels: Sequence[str | Label] | Candidates,
        top_k: int = 5,
        none_of_these: float | None = None,
    ) -> list[Answer]:
        """Label images.

        Args:
            images: of any kind that an ``Embedder`` takes.
            labels: the candidates; commas in one separate its synonyms. For many calls with the
                same ones, or other settings, see ``candidates``.
            top_k: labels of each image; fewer if there are no more.
            none_of_these: accepted share of images of something else that get a label nevertheless;
                by default no image is none of these.

        Raises:
            FormatError: a file is not an image.
            ValueError: no label has a vector, ``top_k`` is below 1, or see ``threshold``.
        """
        if isinstance(labels, str):
            raise ValueError(f"labels is the string {labels!r}; a list of labels was expected")
        if not isinstance(labels, Candidates):
            labels = self.candidates(labels)
        threshold = None if none_of_these is None else self.threshold(labels, none_of_these)
        answers: list[Answer] = []
        for begin in range(0, len(images), self.embedder.batch_size):
            batch = images[begin : begin + self.embedder.batch_size]
            projected = self.project(self.embedder(batch).mean(1))
            answers += self.predict(projected, labels, top_k=top_k, threshold=threshold)
        return answers

    def stream(
        self,
        sources: Iterable[Path | str | bytes],
        candidates: Candidates,
        *,
        top_k: int = 5,
        threshold: float | None = None,
    ) -> Iterator[AnswerBatch]:
        """Labels of files batch by batch, while threads decode the next; none is skipped.

        Args:
            sources: paths or encoded bytes.
            candidates: see ``candidates``.
            top_k: labels of each image; fewer if there are no more.
            threshold: see ``predict``.
        """
        for batch in self.embedder.stream(sources):
            projected = self.project(batch.vectors.mean(1))
            answers = self.predict(projected, candidates, top_k=top_k, threshold=threshold)
            yield AnswerBatch(batch.indices, answers, batch.failures)

    def project(self, vectors: Tensor, *, gradient: bool = False) -> Tensor:
        """Embeddings ``(B, image width)`` into word space, ``(B, D)``, of unit length.

        Args:
            vectors: the mean over an image's views.
            gradient: let gradients flow back to the embeddings.
        """
        with nullcontext() if gradient else torch.no_grad():
            vectors = vectors.to(self.device)
            parts = [F.normalize(module(vectors), dim=1) for module in self.projections.values()]
            return F.normalize(torch.stack(parts).mean(0), dim=1)

    def candidates(
        self,
        labels: Sequence[str | Label] | None,
        *,
        calibrated_stacking: bool = False,
        csls: bool = False,
        advance: Callable[[int], object] | None = None,
    ) -> Candidates:
        """Labels that images may get, to be used with any number of images.

        Args:
            labels: commas in one separate its synonyms. None: all words; with a hypernym weight,
                those that WordNet has.
            calibrated_stacking: subtract a constant from the cosines of seen labels, which
                otherwise precede all others (Chao et al. 2016).
            csls: subtract from each label's cosine half its mean cosine with its 10 nearest images
                (Conneau et al. 2018).
            advance: called now and then with the count of labels embedded since.

        Raises:
            ValueError: there is no label, or none has a vector; or the labeller is not calibrated,
                which ``calibrated_stacking`` and ``csls`` need.
        """
        if labels is None:
            label_vectors = self.space.all_words()  # the senses there are only guessed
            parsed = [Label(text) for text in label_vectors.coverage.labels]
        else:
            if not labels:
                raise ValueError("there are no labels")
            parsed = [Label(label) if isinstance(label, str) else label for label in labels]
            texts, synsets = [label.text for label in parsed], [label.synset for label in parsed]
            label_vectors = self.space.embed(texts, synsets, advance=advance)
            if len(label_vectors.missing) == len(parsed):
                raise ValueError(f"none of {len(parsed)} labels has a vector: {first_few(texts)}")
        vectors = torch.from_numpy(label_vectors.vectors).to(self.device)
        seen = torch.tensor([self.is_seen(label) for label in parsed])
        penalty = torch.zeros(len(parsed), device=self.device)
        if csls:
            penalty = penalty + hub_penalty(vectors, self.require_calibration("CSLS").references)
        if calibrated_stacking:
            seen_penalty = self.require_calibration("calibrated stacking").seen_penalty
            penalty = penalty + seen_penalty * seen.to(penalty)
        neighbors = NearestNeighbors(vectors, penalty=penalty)
        return Candidates(tuple(parsed), label_vectors, vectors, seen, penalty, neighbors)

    def predict(
        self,
        projected: Tensor,
        candidates: Candidates,
        *,
        top_k: int = 5,
        threshold: float | None = None,
    ) -> list[Answer]:
        """The labels of images that are in word space already, ``(B, D)``.

        Args:
            projected: see ``project``.
            candidates: see ``candidates``.
            top_k: labels of each image; fewer if there are no more.
            threshold: best scores that are not above it are none of these; see ``threshold``.

        Raises:
            ValueError: ``top_k`` is below 1.
        """
        # More than there are labels would only be memory.
        top = candidates.neighbors.nearest(projected, top_k=min(top_k, len(candidates.labels)))
        cosines = (top.scores + candidates.penalty[top.indices.clamp(min=0)]).tolist()
        probabilities: list[list[float | None]] = [[None] * len(row) for row in cosines]
        if self.calibration:
            all_seen = bool(candidates.seen.all())
            temperature = self.calibration.temperature_for(all_seen=all_seen)
            total = candidates.neighbors.logsumexp(projected, temperature=temperature)
            probabilities = (top.scores / temperature - total[:, None]).exp().tolist()
        limit = -torch.inf if threshold is None else threshold
        answers = []
        for scores, *columns in zip(
            top.scores.tolist(), top.indices.tolist(), cosines, probabilities, strict=True
        ):
            predictions = tuple(
                Prediction(candidates.labels[index].text, cosine, probability, index)
                for index, cosine, probability in zip(*columns, strict=True)
                if index >= 0
            )
            answers.append(Answer(predictions, none_of_these=scores[0] <= limit))
        return answers

    def threshold(self, candidates: Candidates, false_accepts: float) -> float:
        """The score that the best label must exceed, or the image is none of these.

        Raises:
            ValueError: the labeller is not calibrated, or see ``rejection_threshold``.
        """
        calibration = self.require_calibration("none of these")
        return rejection_threshold(
            calibration, candidates.neighbors, candidates.vectors, false_accepts=false_accepts
        )

    def is_seen(self, label: Label) -> bool:
        """Whether the projections were trained on a label; see ``LabelIndex.find``."""
        return bool(self._seen_index.find(label))

    def is_development(self, label: Label) -> bool:
        """Whether a label validated the training and calibrated the labeller."""
        return bool(self._development_index.find(label))

    def require_calibration(self, purpose: str) -> Calibration:
        """The calibration, on the labeller's device.

        Raises:
            ValueError: there is none, which the purpose needs.
        """
        if self.calibration is None:
            raise ValueError(
                f"{purpose} needs a calibrated labeller: one trained with a development split"
            )
        return self.calibration.to(self.device)
