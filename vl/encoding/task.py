"""The loss of an encoder in training, as a module."""

import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vl.data.batches import LabelledBatch, LossSum
from vl.encoders.inception import Logits
from vl.encoders.table import Network
from vl.training.adversarial import adversarial_loss

AUXILIARY_WEIGHT = 0.3  # of each auxiliary head's loss (Szegedy et al. 2015, section 5)
_log = logging.getLogger(__name__)


class EncoderTask(nn.Module):
    """An encoder with its classifier as one module whose forward is the loss.

    Args:
        encoder: with a classifier.
        label_smoothing: share of the target that is spread over all classes (Szegedy et al. 2016).
        mixup: parameter of the beta distribution by which pairs of images and of their targets are
            mixed (Zhang et al. 2018); 0 turns it off.
        adversarial_epsilon: of the fast gradient sign method, of pixels in [0, 1]; 0 trains on
            clean images alone.
        clean_weight: weight of clean images in adversarial training.
        freeze_norms: whether batch normalization keeps its statistics.

    Raises:
        ValueError: the encoder has no classifier, or mixup has only one class.
    """

    unit = "images"

    def __init__(
        self,
        encoder: Network,
        *,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        adversarial_epsilon: float = 0.0,
        clean_weight: float = 0.5,
        freeze_norms: bool = False,
    ) -> None:
        super().__init__()
        classifier = encoder.classifier
        if classifier is None:
            raise ValueError(f"a {type(encoder).__name__} without a classifier cannot be trained")
        if mixup and classifier.out_features < 2:
            raise ValueError("mixup needs at least two classes")
        self.encoder = encoder
        self._label_smoothing = label_smoothing
        self._adversarial_epsilon = adversarial_epsilon
        self._clean_weight = clean_weight
        self._freeze_norms = freeze_norms
        self._mixup: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
        if mixup:
            from torchvision.transforms.v2 import MixUp  # slow to import

            self._mixup = MixUp(alpha=mixup, num_classes=classifier.out_features)
        self._classify: Callable[[Tensor], Logits] = encoder.classify
        self._compiled = False

    def compile_classifier(self) -> None:
        """Compile the encoder with torch.compile; it happens at the next batch."""
        self._classify = torch.compile(self.encoder.classify)
        self._compiled = True

    def train(self, mode: bool = True) -> "EncoderTask":
        """Set training or evaluation mode; frozen norms stay in evaluation mode."""
        super().train(mode)
        if self._freeze_norms:
            self._train_norms(False)
        return self

    def forward(self, batch: LabelledBatch, step: int) -> LossSum:
        """The total cross-entropy of a batch, with that of auxiliary heads, and its image count.

        Args:
            batch: pixels ``(B, 3, H, W)``, float in [0, 1] or uint8.
            step: has no effect.
        """
        count = torch.tensor(len(batch.images), device=batch.images.device)
        if len(batch.images) > 0:
            return LossSum(self._objective(pixels_of(batch.images), batch.labels).sum(), count)
        # No image could be read. Other processes wait for this one's part of each layer and of the
        # gradient: a black image takes the same way, with weight 0.
        black = batch.images.new_zeros(1, *batch.images.shape[1:], dtype=torch.float32)
        self._train_norms(False)
        zero = self._objective(pixels_of(black), batch.labels.new_zeros(1)).sum() * 0.0
        self._train_norms(self.training and not self._freeze_norms)
        return LossSum(zero, count)

    def _objective(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """The loss of each image, ``(B,)``, with mixup and adversarial training."""
        if self._mixup is not None and self.training:
            pixels, targets = self._mixup(pixels, targets)

        def losses(inputs: Tensor) -> Tensor:
            return self._cross_entropy(inputs, targets)

        if self._adversarial_epsilon and self.training:
            return adversarial_loss(
                pixels, losses, epsilon=self._adversarial_epsilon, alpha=self._clean_weight
            )
        return losses(pixels)

    def _cross_entropy(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """The cross-entropy of each image, ``(B,)``, with that of the auxiliary heads."""
        logits = self._logits(pixels)
        losses = F.cross_entropy(
            logits.main, targets, reduction="none", label_smoothing=self._label_smoothing
        )
        for auxiliary in logits.auxiliary:
            losses = losses + AUXILIARY_WEIGHT * F.cross_entropy(
                auxiliary, targets, reduction="none", label_smoothing=self._label_smoothing
            )
        return losses

    def _logits(self, pixels: Tensor) -> Logits:
        try:
            return self._classify(pixels)
        except Exception as error:
            if not self._compiled:
                raise
            # Most often there is no C++ compiler. Compilation must not stop what works without.
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
