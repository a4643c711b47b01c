"""Labellers, captioners and trained encoders as models under attack, loaded from their files.

Their own inference runs without gradients; the losses here give the same probabilities with them.
How pixels are changed is vl/training/adversarial.py.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vl import bundle
from vl.attacks.attack import Confidence, Output, TargetModel
from vl.captioning import captioner
from vl.captioning.captioner import Captioner
from vl.data.captions.ptb.tokens import words as tokenize
from vl.data.choices import Resize
from vl.data.files import first_few
from vl.data.images.decode import ImageLike, with_pixels
from vl.data.words.label_lists import read_labels
from vl.data.words.label_tables import DEFAULT_COLUMNS, LabelColumns
from vl.data.words.labels import Label, LabelIndex
from vl.decoders import constraints
from vl.encoding import encoder_file
from vl.encoding.classes import class_indices
from vl.encoding.embedder import Embedder
from vl.encoding.encoder_file import TrainedEncoder
from vl.encoding.views import VIEWS, default_preprocessing, single_crop
from vl.labelling import labeller_file
from vl.labelling.candidates import Candidates
from vl.labelling.labeller import Labeller
from vl.training.adversarial import ImageLoss, classifier_loss, predicted_labels

_log = logging.getLogger(__name__)
_MAX_NAMES = 10  # labels without a vector in the warning


def load_target_model(
    path: Path,
    *,
    labels: str | None = None,
    columns: LabelColumns = DEFAULT_COLUMNS,
    resize: Resize | None = None,
    device: torch.device | str = "cpu",
) -> TargetModel:
    """Load a labeller, a captioner or a trained encoder.

    A labeller needs ``labels``, its candidates: separated by commas or in a file,
    as ``read_label_records`` takes it.
    ``resize`` is of an encoder alone, see `TargetClassifier`.

    Raises:
        ValueError: ``labels`` without a labeller or missing for one; ``resize`` without an encoder.
        FormatError: the file holds none of these models.
    """
    kinds = (labeller_file.KIND, captioner.KIND, encoder_file.KIND)
    kind = bundle.read(path, kind=kinds).configuration["kind"]
    if labels is not None and kind != labeller_file.KIND:
        raise ValueError(f"labels require a labeller; {path} holds the model kind {kind!r}")
    if resize is not None and kind != encoder_file.KIND:
        raise ValueError(f"resize requires an encoder; {path} holds the model kind {kind!r}")
    if kind == encoder_file.KIND:
        trained = encoder_file.load(path)
        return TargetClassifier(trained, resize=resize, device=device)
    if kind == captioner.KIND:
        return TargetCaptioner(Captioner.load(path, device=device))
    if labels is None:
        raise ValueError(f"{path} is a labeller and requires candidate labels (--labels)")
    return _load_labeller(path, labels, columns, device)


class TargetLabeller:
    """A labeller in evaluation mode, with its candidate labels."""

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
        """A candidate label, with a vector, by its text or one of its synonyms."""
        labels = self.candidates.labels
        matches = LabelIndex(labels).find_closest(Label(text))
        if not matches:
            raise ValueError(f"target {text!r} is not among the {len(labels)} labels")
        if len(matches) > 1:
            raise ValueError(f"target {text!r} matches {len(matches)} labels; expected one")
        if not self._has_vector[matches[0]]:
            raise ValueError(f"target {text!r} has no word vector, so it is never predicted")
        return Output(labels[matches[0]].text, (matches[0],))

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
    def confidence(self, pixels: Tensor, targets: Sequence[Output]) -> list[Confidence]:
        """Cosine of each image's label, and its probability if the labeller is calibrated."""
        pixels = pixels.to(self.device)
        cosines = self._cosines(pixels).gather(1, self._indices(targets)[:, None])[:, 0].tolist()
        probabilities = [None] * len(cosines)
        if self.labeller.calibration:
            probabilities = (-self.loss(targets)(pixels)).exp().tolist()
        columns = zip(cosines, probabilities, strict=True)
        return [{"cosine": cosine, "probability": probability} for cosine, probability in columns]

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
        """A sentence within the vocabulary and the search's maximum length."""
        vocabulary = self.captioner.vocabulary
        tokens = tokenize(text)
        ids = vocabulary.encode(tokens)[1:]  # without the start
        unknown = [word for word, index in zip(tokens, ids[:-1]) if index == vocabulary.unknown]
        limit = self.captioner.search.max_length
        if not tokens:
            raise ValueError(f"target {text!r} contains no words")
        if unknown:
            words = ", ".join(map(repr, unknown))
            raise ValueError(f"target {text!r} has words outside the vocabulary: {words}")
        if len(ids) > limit:
            raise ValueError(f"target {text!r} has length {len(ids)}; the maximum is {limit}")
        return Output(vocabulary.decode(ids), tuple(ids))

    def loss(self, targets: Sequence[Output]) -> ImageLoss:
        """Negative log-likelihood of each image's sentence, by teacher forcing."""
        vocabulary = self.captioner.vocabulary
        sentences = [torch.tensor(target.ids, device=self.device) for target in targets]
        # Padding is fed to the decoder, but masked in the sum.
        padded = pad_sequence(sentences, batch_first=True, padding_value=vocabulary.end)  # (B, T)
        lengths = torch.tensor([len(sentence) for sentence in sentences], device=self.device)
        mask = torch.arange(padded.shape[1], device=self.device) < lengths[:, None]

        def nll(pixels: Tensor) -> Tensor:
            vectors = _embed(self.embedder, pixels)
            step, state = constraints.ensemble(
                [(decoder.step, decoder.start(vectors)) for decoder in self.captioner.decoders]
            )
            words = torch.full((len(pixels),), vocabulary.start, device=self.device)
            nlls = []
            for following in padded.unbind(1):
                log_probs, state = step(words, state)  # (B, V)
                words = following
                nlls.append(-log_probs.gather(1, words[:, None])[:, 0])
            return torch.where(mask, torch.stack(nlls, 1), 0.0).sum(1)

        return nll

    @torch.no_grad()
    def confidence(self, pixels: Tensor, targets: Sequence[Output]) -> list[Confidence]:
        """Log-probability of each image's sentence."""
        nlls = self.loss(targets)(pixels.to(self.device))
        return [{"log_prob": -nll} for nll in nlls.tolist()]


class TargetClassifier:
    """A trained encoder with its classes, put into evaluation mode on the device.

    Images become squares as ``resize`` says; by default the encoder's own way, or by center-crop if
    it has none.
    """

    def __init__(
        self,
        trained: TrainedEncoder,
        *,
        resize: Resize | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.classes = trained.classes
        self.encoder = trained.encoder.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form
        self.resize = resize or default_preprocessing(trained.encoder, "center-crop")
        self._preprocess = single_crop(trained.encoder, self.resize)

    def preprocess(self, image: ImageLike) -> Tensor:
        """An image to the encoder's input, ``(3, S, S)`` in [0, 1]."""
        return with_pixels(image, self._preprocess)

    def logits(self, pixels: Tensor) -> Tensor:
        """``(B, 3, S, S)`` on any device to ``(B, classes)``, differentiable."""
        pixels = pixels.to(self.device).contiguous(memory_format=torch.channels_last)
        return self.encoder.classify(pixels).main

    def predict(self, pixels: Tensor) -> list[Output]:
        """The top-1 class of each image."""
        indices = predicted_labels(self.logits, pixels).tolist()
        return [Output(self.classes[index], (index,)) for index in indices]

    def target(self, text: str) -> Output:
        """A class by one of its names; see ``vl.encoding.classes``."""
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
    def confidence(self, pixels: Tensor, targets: Sequence[Output]) -> list[Confidence]:
        """Probability of each image's class."""
        probabilities = (-self.loss(targets)(pixels)).exp().tolist()
        return [{"probability": probability} for probability in probabilities]


def _load_labeller(
    path: Path, labels: str, columns: LabelColumns, device: torch.device | str
) -> TargetLabeller:
    labeller = Labeller.load(path, device=device)
    wordnet = labeller.space.wordnet
    lemmas = None if wordnet is None else wordnet.lemmas()
    label_list = read_labels(labels, lemmas=lemmas, columns=columns)
    for note in label_list.notes:
        _log.info("labels: %s", note)
    candidates = labeller.candidates(label_list.labels)
    missing = [candidates.labels[index].text for index in candidates.without_vector]
    if missing:
        names = first_few(missing, limit=_MAX_NAMES)
        _log.warning("labels without a word vector are never predicted: %s", names)
    return TargetLabeller(labeller, candidates)


def _embed(embedder: Embedder, pixels: Tensor) -> Tensor:
    """Mean embedding over the views, ``(B, D)``, differentiable."""
    encoder = embedder.encoder
    return torch.stack([encoder(VIEWS[view](pixels)) for view in embedder.views]).mean(0)
