"""What the training loop needs to know of an encoder: the loss, and what it is worth.

It does not know files, nor how pictures were distorted.
"""

import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2 import MixUp

from vl.data.batches import LabelledBatch, LossSum
from vl.data.labelled.loader import ImageBatches
from vl.encoders.inception import Logits
from vl.encoders.table import Network
from vl.training.adversarial import adversarial_loss
from vl.training.loop import Validation

_log = logging.getLogger(__name__)
AUXILIARY_WEIGHT = 0.3  # of each auxiliary head's loss (Szegedy et al. 2015, section 5)
_TOP = 5


class EncoderTask(nn.Module):
    """An encoder with its classifier, as one module whose forward is the loss.

    Args:
        encoder: with a classifier.
        smoothing: share of the truth that is spread evenly over all classes (Szegedy et al. 2016).
        mixup: parameter of the beta distribution by which pairs of pictures, and their classes,
            are mixed (Zhang et al. 2018); 0 mixes none.
        adversarial: how far, of a range of 1, pixels are moved along the gradient's sign for
            adversarial training; 0 trains on clean pictures alone.
        clean_weight: weight of the clean pictures in adversarial training.
        frozen_norms: batch normalisation keeps its statistics.

    Raises:
        ValueError: the encoder has no classifier, or a number is out of its range.
    """

    unit = "images"

    def __init__(
        self,
        encoder: Network,
        *,
        smoothing: float = 0.0,
        mixup: float = 0.0,
        adversarial: float = 0.0,
        clean_weight: float = 0.5,
        frozen_norms: bool = False,
    ) -> None:
        super().__init__()
        classifier = encoder.classifier
        if classifier is None:
            raise ValueError(f"a {type(encoder).__name__} without a classifier cannot be trained")
        if mixup < 0:
            raise ValueError(f"mixup is {mixup}; it must be at least 0")
        if mixup and classifier.out_features < 2:
            raise ValueError("mixup wants two classes or more")
        shares = {"smoothing": smoothing, "adversarial": adversarial, "clean_weight": clean_weight}
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it must be from 0 to 1")
        self.encoder = encoder
        self._smoothing = smoothing
        self._adversarial = adversarial
        self._clean_weight = clean_weight
        self._frozen_norms = frozen_norms
        self._mix = MixUp(alpha=mixup, num_classes=classifier.out_features) if mixup else None
        self._classify: Callable[[Tensor], Logits] = encoder.classify
        self._compiled = False

    def compile_classifier(self) -> None:
        """Compile the encoder with torch.compile; it happens at the next batch."""
        self._classify = torch.compile(self.encoder.classify)
        self._compiled = True

    def train(self, mode: bool = True) -> "EncoderTask":
        """Training or evaluation; with ``frozen_norms`` batch normalisation stays at rest."""
        super().train(mode)
        if self._frozen_norms:
            self._train_norms(False)
        return self

    def forward(self, batch: LabelledBatch, step: int) -> LossSum:
        """The sum of the cross-entropy over a batch, auxiliary heads' included, and its images.

        Args:
            batch: pixels ``(B, 3, H, W)``, float in [0, 1] or uint8.
            step: not used.
        """
        count = torch.tensor(len(batch.images), device=batch.images.device)
        if len(batch.images) > 0:
            return LossSum(self._every(pixels_of(batch.images), batch.labels).sum(), count)
        # None could be read. The other processes wait for this one's part of each layer and of the
        # gradient: a black picture goes the same way, and counts for nothing.
        black = batch.images.new_zeros(1, *batch.images.shape[1:], dtype=torch.float32)
        self._train_norms(False)
        nothing = self._every(pixels_of(black), batch.labels.new_zeros(1)).sum() * 0.0
        self._train_norms(self.training and not self._frozen_norms)
        return LossSum(nothing, count)

    def _every(self, pixels: Tensor, truth: Tensor) -> Tensor:
        """The loss of each picture, ``(B,)``, by the objective that was chosen."""
        if self._mix is not None and self.training:
            pixels, truth = self._mix(pixels, truth)

        def losses(given: Tensor) -> Tensor:
            return self._losses(given, truth)

        if self._adversarial and self.training:
            return adversarial_loss(
                pixels, losses, epsilon=self._adversarial, alpha=self._clean_weight
            )
        return losses(pixels)

    def _losses(self, pixels: Tensor, truth: Tensor) -> Tensor:
        """The cross-entropy of each picture, ``(B,)``, with the auxiliary heads' share."""
        logits = self._logits(pixels)
        every = F.cross_entropy(
            logits.main, truth, reduction="none", label_smoothing=self._smoothing
        )
        for auxiliary in logits.auxiliary:
            every = every + AUXILIARY_WEIGHT * F.cross_entropy(
                auxiliary, truth, reduction="none", label_smoothing=self._smoothing
            )
        return every

    def _logits(self, pixels: Tensor) -> Logits:
        try:
            return self._classify(pixels)
        except Exception as error:
            if not self._compiled:
                raise
            # No C++ compiler, most often. What is only faster must not stop what works.
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            _log.warning("torch.compile failed, going on without it: %s", reason)
            self._classify, self._compiled = self.encoder.classify, False
            return self._classify(pixels)

    def _train_norms(self, mode: bool) -> None:
        for module in self.encoder.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train(mode)


def pixels_of(images: Tensor) -> Tensor:
    """``(B, 3, H, W)``, uint8 or float, to float in [0, 1], channels last."""
    if images.dtype == torch.uint8:
        images = images.float() / 255
    return images.contiguous(memory_format=torch.channels_last)


def make_validator(
    batches: ImageBatches, *, device: torch.device | str
) -> Callable[[EncoderTask], Validation]:
    """A judge of an encoder in training, by pictures that it is not trained on.

    Args:
        batches: of them, not distorted.
        device: where the encoder is.

    Returns:
        Judges by top-1; its figures are hundredths.
    """

    def validate(task: EncoderTask) -> Validation:
        encoder = task.encoder
        first = among = seen = 0
        for batch in batches.epoch(0):
            if not len(batch.labels):
                continue
            moved = batch.to(device)
            logits = encoder.classify(pixels_of(moved.images)).main  # (B, classes)
            order = logits.topk(min(_TOP, logits.shape[1])).indices
            found = order == moved.labels[:, None]
            first += int(found[:, 0].sum())
            among += int(found.any(1).sum())
            seen += len(batch.labels)
        if not seen:
            raise ValueError("no picture to judge by can be read")
        figures = {"top-1": 100 * first / seen, "top-5": 100 * among / seen}
        return Validation(figures["top-1"], figures)

    return validate
