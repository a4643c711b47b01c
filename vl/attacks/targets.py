"""A model as an attack sees it: what it says of pixels, and losses of that.

Models are labellers, captioners and trained encoders, which are classifiers.

What the models do for people runs without gradients; here are the same numbers with them. How
pixels are then changed is vl/training/adversarial.py's.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from vl.captioning.captioner import Captioner
from vl.data.captions.ptb.tokens import words as words_of
from vl.data.choices import Resize
from vl.data.images.crops import crops_without_flips
from vl.data.images.decode import square
from vl.decoders import constraints as rules
from vl.encoding.classes import places
from vl.encoding.embedder import VIEWS, Embedder
from vl.encoding.encoder_file import TrainedEncoder
from vl.labelling.labeller import Candidates, Labeller
from vl.training.adversarial import Loss, classifier_loss, own_labels

Goal = tuple[int, ...]  # what an attack raises or lowers: a label's number, or a sentence's words


class Said(NamedTuple):
    """What a model says of an image, or shall say."""

    text: str
    goal: Goal


class Attacked(Protocol):
    """The contract: a model whose answers an attack changes."""

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        ...

    def square(self, pixels: Tensor) -> Tensor:
        """A photograph, ``(3, H, W)``, as the model sees it, ``(3, S, S)``."""
        ...

    def says(self, pixels: Tensor) -> list[Said]:
        """The best answer for each image, ``(B, 3, S, S)`` in [0, 1]."""
        ...

    def wanted(self, text: str) -> Said:
        """An answer that is in the model's power, by what a person writes.

        Raises:
            ValueError: it is not.
        """
        ...

    def loss(self, goals: Sequence[Goal]) -> Loss:
        """-log p of a goal for each image, in nats, differentiable by the pixels."""
        ...

    def figures(self, pixels: Tensor, goals: Sequence[Goal]) -> list[dict[str, float | None]]:
        """How sure the model is of a goal for each image, by the names that people are told."""
        ...


class AttackedLabeller:
    """A labeller and the labels that photographs may get.

    Args:
        labeller: in evaluation mode, as it is made.
        candidates: of the same labeller; one label at least has a vector.
    """

    def __init__(self, labeller: Labeller, candidates: Candidates) -> None:
        self.labeller = labeller
        self.candidates = candidates
        self.embedder = labeller.embedder
        self.device = self.embedder.device
        self.square = self.embedder.square
        self._known = candidates.labels.known
        self._units = F.normalize(candidates.vectors.masked_fill(~self._known[:, None], 0), dim=1)

    def says(self, pixels: Tensor) -> list[Said]:
        """The labeller's own first answer for each image."""
        projected = self.labeller.project(self.embedder(pixels).mean(1))
        answers = self.labeller.answers(projected, self.candidates, top=1)
        return [Said(each.labels[0].text, (each.labels[0].number,)) for each in answers]

    def wanted(self, text: str) -> Said:
        """A label among the candidates, by its text or by one of its synonyms.

        Raises:
            ValueError: none is called so, several are, or it has no vector.
        """
        texts = self.candidates.texts
        asked = _compared(text)
        found = [n for n, each in enumerate(texts) if _compared(each) == asked] or [
            n for n, each in enumerate(texts) if asked in map(_compared, each.split(","))
        ]
        if not found:
            raise ValueError(f"{text!r} is not among the {len(texts)} labels")
        if len(found) > 1:
            raise ValueError(f"{text!r} is {len(found)} of the labels; it must be one")
        if not self._known[found[0]]:
            raise ValueError(f"the label {text!r} has no vector, so it is never chosen")
        return Said(texts[found[0]], (found[0],))

    def loss(self, goals: Sequence[Goal]) -> Loss:
        """-log of the probability of a label among the candidates, as the labeller has it.

        One that was never calibrated gives no probabilities; then the softmax is of the cosines
        as they are.
        """
        numbers = self._numbers(goals)
        calibration = self.labeller.calibration
        temperature = 1.0
        if calibration:
            temperature = calibration.temperature_for(all_seen=bool(self.candidates.seen.all()))

        def nll(pixels: Tensor) -> Tensor:
            scores = (self._cosines(pixels) - self.candidates.less) / temperature  # (B, K)
            scores = scores.masked_fill(~self._known, -torch.inf)
            return F.cross_entropy(scores, numbers, reduction="none")

        return nll

    @torch.no_grad()
    def figures(self, pixels: Tensor, goals: Sequence[Goal]) -> list[dict[str, float | None]]:
        """The label's cosine, and its probability if the labeller was calibrated."""
        pixels = pixels.to(self.labeller.device)
        cosines = self._cosines(pixels).gather(1, self._numbers(goals)[:, None])[:, 0].tolist()
        chances: list[float | None] = [None] * len(cosines)
        if self.labeller.calibration:
            chances = (-self.loss(goals)(pixels)).exp().tolist()
        return [
            {"cosine": cosine, "probability": chance}
            for cosine, chance in zip(cosines, chances, strict=True)
        ]

    def _cosines(self, pixels: Tensor) -> Tensor:
        """Of images ``(B, 3, S, S)`` to all candidates, ``(B, K)``; 0 for one without a vector."""
        vectors = _embedded(self.embedder, pixels)  # (B, image width)
        projected = self.labeller.projected(vectors)  # (B, D)
        return projected @ self._units.T.to(projected.dtype)

    def _numbers(self, goals: Sequence[Goal]) -> Tensor:
        return torch.tensor([number for (number,) in goals], device=self.labeller.device)


class AttackedCaptioner:
    """A captioner; several decoders vote here as they do when it captions."""

    def __init__(self, captioner: Captioner) -> None:
        self.captioner = captioner
        self.embedder = captioner.embedder
        self.device = self.embedder.device
        self.square = self.embedder.square

    def says(self, pixels: Tensor) -> list[Said]:
        """The captioner's own first caption of each image."""
        found = self.captioner.hypotheses(self.embedder(pixels).mean(1))
        words = self.captioner.vocabulary
        return [
            Said(words.decode(best.words), (*best.words, *([words.end] if best.ended else [])))
            for best, *_ in found
        ]

    def wanted(self, text: str) -> Said:
        """A sentence, its words as the vocabulary spells them.

        Raises:
            ValueError: it has no word, one that the vocabulary lacks, or more than the search
                lets a caption have.
        """
        words = self.captioner.vocabulary
        spelled = words_of(text)
        ids = words.encode(spelled)[1:]  # without the start
        unknown = [word for word, number in zip(spelled, ids[:-1]) if number == words.unknown]
        if not spelled:
            raise ValueError(f"there is no word in the sentence {text!r}")
        if unknown:
            raise ValueError(
                f"the captioner's vocabulary has no {', '.join(map(repr, unknown))}, "
                f"so it can never say {text!r}"
            )
        most = self.captioner.search.max_length
        if len(ids) > most:
            raise ValueError(
                f"the sentence has {len(ids)} words, the end counted; captions have at most {most}"
            )
        return Said(words.decode(ids), tuple(ids))

    def loss(self, goals: Sequence[Goal]) -> Loss:
        """-log of the probability of a sentence, in nats: what its words cost, one by one."""
        words = self.captioner.vocabulary
        device = self.captioner.device
        length = max(map(len, goals))
        # What stands behind a sentence's end is fed and never counted.
        padded = torch.tensor(
            [[*goal, *[words.end] * (length - len(goal))] for goal in goals], device=device
        )  # (B, T)
        counted = torch.arange(length) < torch.tensor([len(goal) for goal in goals])[:, None]
        counted = counted.to(device)

        def nll(pixels: Tensor) -> Tensor:
            vectors = _embedded(self.embedder, pixels)
            step, state = rules.ensemble(
                [(each.step, each.start(vectors)) for each in self.captioner.decoders]
            )
            said = torch.full((len(pixels),), words.start, device=device)
            costs = []
            for t in range(length):
                log_probs, state = step(said, state)  # (B, V)
                said = padded[:, t]
                costs.append(-log_probs.gather(1, said[:, None])[:, 0])
            return torch.where(counted, torch.stack(costs, 1), 0.0).sum(1)

        return nll

    @torch.no_grad()
    def figures(self, pixels: Tensor, goals: Sequence[Goal]) -> list[dict[str, float | None]]:
        """The sentence's log-probability."""
        costs = self.loss(goals)(pixels.to(self.captioner.device))
        return [{"log_prob": -cost} for cost in costs.tolist()]


class AttackedClassifier:
    """A trained encoder and its classes.

    Args:
        trained: its encoder is put into evaluation mode on the device.
        resize: how a photograph becomes a square; with either it is the one that
            ``vl.encoding.evaluation`` classifies.
        device: where the encoder runs.
    """

    def __init__(
        self,
        trained: TrainedEncoder,
        *,
        resize: Resize = "center-crop",
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.classes = trained.classes
        self.encoder = trained.encoder.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form
        self._resize: Resize = resize

    def square(self, pixels: Tensor) -> Tensor:
        """``(3, H, W)`` to the square that the encoder takes."""
        side = self.encoder.image_size
        if self._resize == "squash":
            return square(pixels, side, "squash")
        return crops_without_flips(pixels, size=side, num_crops=1)[0]

    def logits(self, pixels: Tensor) -> Tensor:
        """``(B, 3, S, S)`` on any device to ``(B, classes)``, with a gradient if one is wanted."""
        return self.encoder.classify(self._there(pixels)).main

    def says(self, pixels: Tensor) -> list[Said]:
        """The likeliest class for each image."""
        numbers = own_labels(self.logits, pixels).tolist()
        return [Said(self.classes[number], (number,)) for number in numbers]

    def wanted(self, text: str) -> Said:
        """A class, by what ``vl.encoding.classes.places`` knows it by.

        Raises:
            ValueError: it is none of them, or could be several.
        """
        try:
            number = places([text], self.classes)[text]
        except ValueError as cause:
            count = len(self.classes)
            raise ValueError(f"{text!r} names no one of the encoder's {count} classes") from cause
        return Said(self.classes[number], (number,))

    def loss(self, goals: Sequence[Goal]) -> Loss:
        """The cross-entropy with a class for each image."""
        numbers = [number for (number,) in goals]
        return classifier_loss(self.logits, torch.tensor(numbers, device=self.device))

    @torch.no_grad()
    def figures(self, pixels: Tensor, goals: Sequence[Goal]) -> list[dict[str, float | None]]:
        """The class's probability."""
        return [{"probability": chance} for chance in (-self.loss(goals)(pixels)).exp().tolist()]

    def _there(self, pixels: Tensor) -> Tensor:
        return pixels.to(self.device).contiguous(memory_format=torch.channels_last)


def _embedded(embedder: Embedder, pixels: Tensor) -> Tensor:
    """What the extractor and the mean over its views give, ``(B, D)``, with a gradient."""
    encoder = embedder.encoder
    return torch.stack([encoder(VIEWS[view](pixels)) for view in embedder.views]).mean(0)


def _compared(label: str) -> str:
    return " ".join(label.split()).casefold()
