"""An attack: its settings, the interface of a model under attack, and the images it reads."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from vl.data.images.decode import ImageLike
from vl.data.images.read_ahead import ReadBatch, read_or_report
from vl.training.adversarial import ImageLoss, basic_iterative, default_step_size

Confidence = dict[str, float | None]  # cosine, probability or log-probability, by name


class AttackConfig(NamedTuple):
    """The fast gradient sign attack, or its iterated form with several steps."""

    epsilon: float  # maximum change of a pixel value, of a range of 1; 0 changes nothing
    steps: int = 1
    step_size: float | None = None  # see vl.training.adversarial.default_step_size

    def apply(self, pixels: Tensor, loss: ImageLoss, *, targeted: bool = False) -> Tensor:
        """Adversarial images; see ``vl.training.adversarial.basic_iterative``."""
        return basic_iterative(
            pixels,
            loss,
            epsilon=self.epsilon,
            steps=self.steps,
            step_size=self.step_size,
            targeted=targeted,
        )

    def record(self) -> dict[str, float]:
        """The settings as they stand in JSON; an attack that changes nothing has no steps."""
        size = self.step_size
        return {
            "epsilon": self.epsilon,
            "steps": self.steps if self.epsilon else 0,
            "step_size": default_step_size(self.epsilon, self.steps) if size is None else size,
        }


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

    def preprocess(self, image: ImageLike) -> Tensor:
        """An image to the model's input, ``(3, S, S)`` in [0, 1]."""
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

    def confidence(self, pixels: Tensor, targets: Sequence[Output]) -> list[Confidence]:
        """Confidence in each image's target."""
        ...


def read_inputs(
    model: TargetModel, paths: Sequence[Path], batch_size: int
) -> Iterator[ReadBatch[Tensor]]:
    """Decode image files to a model's inputs, ``(3, S, S)`` each; errors are reported."""
    return read_or_report(paths, model.preprocess, batch_size=batch_size)
