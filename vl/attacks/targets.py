"""Models under attack: labellers, captioners and classifiers behind one differentiable interface.

Their own inference runs without gradients; the losses here give the same probabilities with them.
How pixels are changed is vl/training/adversarial.py.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from vl.captioning.captioner import Captioner
from vl.data.captions.ptb.tokens import words as tokenize
from vl.data.choices import Resize
from vl.data.images.crops import crops_without_flips
from vl.data.images.decode import square
from vl.data.words.labels import Label, LabelIndex
from vl.decoders import constraints
from vl.encoding.classes import class_indices
from vl.encoding.embedder import Embedder
from vl.encoding.encoder_file import TrainedEncoder
from vl.encoding.views import VIEWS
from vl.labelling.candidates import Candidates
from vl.labelling.labeller import Labeller
from vl.training.adversarial import ImageLoss, classifier_loss, predicted_labels


class Output(NamedTuple):
    """A label, class or sentence that a model predicts, or the target of an attack."""

    text: str
    ids: tuple[int, ...]  # the index of a label or class, or the word ids of a sentence


class TargetModel(Protocol):
    """A model under attack."""

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        ...

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Resize an image ``(3, H, W)`` to the model's input ``(3, S, S)``."""
        ...

    def predict(self, pixels: Tensor) -> list[Output]:
        """The best output for each image of ``(B, 3, S, S)`` in [0, 1]."""
        ...

    def target(self, text: str) -> Output:
        """The output that a text names.

        Raises:
            ValueError: the model has no such output.
        """
        ...

    def loss(self, targets: Sequence[Output]) -> ImageLoss:
        """Negative log-probability of each image's target in nats, differentiable by the pixels."""
        ...

    def confidence(
        self, pixels: Tensor, targets: Sequence[Output]
    ) -> list[dict[str, float | None]]:
        """Confidence in each image's target: cosine, probability or log-probability by name."""
        ...


class TargetLabeller:
    """A labeller with its candidate labels.

    Args:
        labeller: in evaluation mode.
        candidates: of the same labeller.
    """

    def __init__(self, labeller: Labeller, candidates: Candidates) -> None:
        self.labeller = labeller
        self.candidates = candidates
        self.embedder = labeller.embedder
        self.device = self.embedder.device
        self.preprocess = self.embedder.preprocess
        self._has_vector = candidates.neighbors.valid
        vectors = candidates.vectors.masked_fill(~self._has_vector[:, None], 0)
        self._units = F.normalize(vectors, dim=1)

    def predict(self, pixels: Tensor) -> list[Output]:
        """The labeller's top-1 label for each image."""
        projected = self.labeller.project(self.embedder.encode(pixels).mean(1))
        answers = self.labeller.predict(projected, self.candidates, top_k=1)
        best = [answer.predictions[0] for answer in answers]
        return [Output(label.text, (label.label_index,)) for label in best]

    def target(self, text: str) -> Output:
        """A candidate label by its text or one of its synonyms.

        Raises:
            ValueError: no label or several match, or the label has no vector.
        """
        texts = self.candidates.texts
        matches = LabelIndex(self.candidates.labels).find_closest(Label(text))
        if not matches:
            raise ValueError(f"target {text!r} is not among the {len(texts)} labels")
        if len(matches) > 1:
            raise ValueError(f"target {text!r} matches {len(matches)} labels; expected one")
        if not self._has_vector[matches[0]]:
            raise ValueError(f"target {text!r} has no word vector, so it is never predicted")
        return Output(texts[matches[0]], (matches[0],))

    def loss(self, targets: Sequence[Output]) -> ImageLoss:
        """Cross-entropy of each image's label over the candidates.

        The temperature is the labeller's, or 1 if the labeller is not calibrated.
        """
        indices = self._indices(targets)
        calibration = self.labeller.calibration
        temperature = 1.0
        if calibration:
            temperature = calibration.temperature_for(all_seen=bool(self.candidates.seen.all()))

        def nll(pixels: Tensor) -> Tensor:
            scores = (self._cosines(pixels) - self.candidates.penalty) / temperature  # (B, K)
            scores = scores.masked_fill(~self._has_vector, -torch.inf)
            return F.cross_entropy(scores, indices, reduction="none")

        return nll

    @torch.no_grad()
    def confidence(
        self, pixels: Tensor, targets: Sequence[Output]
    ) -> list[dict[str, float | None]]:
        """Cosine of each image's label, and its probability if the labeller is calibrated."""
        pixels = pixels.to(self.device)
        cosines = self._cosines(pixels).gather(1, self._indices(targets)[:, None])[:, 0].tolist()
        probabilities: list[float | None] = [None] * len(cosines)
        if self.labeller.calibration:
            probabilities = (-self.loss(targets)(pixels)).exp().tolist()
        return [
            {"cosine": cosine, "probability": probability}
            for cosine, probability in zip(cosines, probabilities, strict=True)
        ]

    def _cosines(self, pixels: Tensor) -> Tensor:
        """Cosines of images ``(B, 3, S, S)`` and candidates, ``(B, K)``; 0 without a vector."""
        projected = self.labeller.project(_embed(self.embedder, pixels), gradient=True)  # (B, D)
        return projected @ self._units.T.to(projected.dtype)

    def _indices(self, targets: Sequence[Output]) -> Tensor:
        return torch.tensor([target.ids[0] for target in targets], device=self.device)


class TargetCaptioner:
    """A captioner; several decoders form an ensemble, as in captioning."""

    def __init__(self, captioner: Captioner) -> None:
        self.captioner = captioner
        self.embedder = captioner.embedder
        self.device = self.embedder.device
        self.preprocess = self.embedder.preprocess

    def predict(self, pixels: Tensor) -> list[Output]:
        """The captioner's best caption of each image."""
        vocabulary = self.captioner.vocabulary
        outputs = []
        for best, *_ in self.captioner.hypotheses(self.embedder.encode(pixels).mean(1)):
            end = (vocabulary.end,) if best.ended else ()
            outputs.append(Output(vocabulary.decode(best.words), (*best.words, *end)))
        return outputs

    def target(self, text: str) -> Output:
        """A sentence, tokenized as the captions of the training set.

        Raises:
            ValueError: the sentence is empty, too long for the search, or has a word outside the
                vocabulary.
        """
        vocabulary = self.captioner.vocabulary
        tokens = tokenize(text)
        ids = vocabulary.encode(tokens)[1:]  # without the start
        unknown = [word for word, index in zip(tokens, ids[:-1]) if index == vocabulary.unknown]
        if not tokens:
            raise ValueError(f"target {text!r} contains no words")
        if unknown:
            raise ValueError(
                f"target {text!r} has words outside the captioner's vocabulary: "
                f"{', '.join(map(repr, unknown))}"
            )
        limit = self.captioner.search.max_length
        if len(ids) > limit:
            raise ValueError(
                f"target {text!r} has length {len(ids)} with its end; the maximum is {limit}"
            )
        return Output(vocabulary.decode(ids), tuple(ids))

    def loss(self, targets: Sequence[Output]) -> ImageLoss:
        """Negative log-likelihood of each image's sentence, by teacher forcing."""
        vocabulary = self.captioner.vocabulary
        lengths = torch.tensor([len(target.ids) for target in targets], device=self.device)
        length = int(lengths.max())
        # Padding is fed to the decoder, but masked in the sum.
        padded = torch.tensor(
            [[*ids, *[vocabulary.end] * (length - len(ids))] for _, ids in targets],
            device=self.device,
        )  # (B, T)
        mask = torch.arange(length, device=self.device) < lengths[:, None]

        def nll(pixels: Tensor) -> Tensor:
            vectors = _embed(self.embedder, pixels)
            step, state = constraints.ensemble(
                [(decoder.step, decoder.start(vectors)) for decoder in self.captioner.decoders]
            )
            words = torch.full((len(pixels),), vocabulary.start, device=self.device)
            nlls = []
            for t in range(length):
                log_probs, state = step(words, state)  # (B, V)
                words = padded[:, t]
                nlls.append(-log_probs.gather(1, words[:, None])[:, 0])
            return torch.where(mask, torch.stack(nlls, 1), 0.0).sum(1)

        return nll

    @torch.no_grad()
    def confidence(
        self, pixels: Tensor, targets: Sequence[Output]
    ) -> list[dict[str, float | None]]:
        """Log-probability of each image's sentence."""
        nlls = self.loss(targets)(pixels.to(self.device))
        return [{"log_prob": -nll} for nll in nlls.tolist()]


class TargetClassifier:
    """A trained encoder with its classes.

    Args:
        trained: its encoder is put into evaluation mode on the device.
        resize: how an image becomes a square, as in ``vl.encoding.evaluation``.
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
        self._resize = resize

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Resize an image ``(3, H, W)`` to the encoder's input ``(3, S, S)``."""
        side = self.encoder.image_size
        if self._resize == "squash":
            return square(pixels, side, "squash")
        return crops_without_flips(pixels, size=side, num_crops=1)[0]

    def logits(self, pixels: Tensor) -> Tensor:
        """``(B, 3, S, S)`` on any device to ``(B, classes)``, differentiable."""
        pixels = pixels.to(self.device).contiguous(memory_format=torch.channels_last)
        return self.encoder.classify(pixels).main

    def predict(self, pixels: Tensor) -> list[Output]:
        """The top-1 class of each image."""
        indices = predicted_labels(self.logits, pixels).tolist()
        return [Output(self.classes[index], (index,)) for index in indices]

    def target(self, text: str) -> Output:
        """A class by one of its names; see ``vl.encoding.classes``.

        Raises:
            ValueError: no class or several match.
        """
        try:
            index = class_indices([text], self.classes)[text]
        except ValueError as cause:
            raise ValueError(
                f"target {text!r} does not name one of the encoder's {len(self.classes)} classes"
            ) from cause
        return Output(self.classes[index], (index,))

    def loss(self, targets: Sequence[Output]) -> ImageLoss:
        """Cross-entropy of each image's class."""
        indices = [target.ids[0] for target in targets]
        return classifier_loss(self.logits, torch.tensor(indices, device=self.device))

    @torch.no_grad()
    def confidence(
        self, pixels: Tensor, targets: Sequence[Output]
    ) -> list[dict[str, float | None]]:
        """Probability of each image's class."""
        probabilities = (-self.loss(targets)(pixels)).exp().tolist()
        return [{"probability": probability} for probability in probabilities]


def _embed(embedder: Embedder, pixels: Tensor) -> Tensor:
    """Mean embedding over the views, ``(B, D)``, differentiable."""
    encoder = embedder.encoder
    return torch.stack([encoder(VIEWS[view](pixels)) for view in embedder.views]).mean(0)
