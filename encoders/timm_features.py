"""Any of timm's models as an encoder: all of it but the classifier, with its own preprocessing.

timm is an optional dependency, the extra ``timm``, imported when one of its models is named.
"""

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vl.encoders.inception import Logits

PREFIX = "timm:"
_MAX_ASPECT = 16  # of what is resized and then cropped: a thin strip would fill the memory
_MAX_IMAGE_SIZE = 4096


@dataclass(frozen=True)
class TimmPreprocessing:
    """How an image becomes a square, in timm's terms.

    Raises:
        ValueError: a value is of another type or out of bounds.
    """

    image_size: int
    """Pixels a side."""
    crop_pct: float
    """Share of the side of the resized image that is cropped."""
    crop_mode: str
    """``center``: resize the shorter side; ``squash``: both; ``border``: the longer, and pad."""
    interpolation: str
    """``bicubic``, ``bilinear``, ..."""

    def __post_init__(self) -> None:
        size, share, mode = self.image_size, self.crop_pct, self.crop_mode
        if type(size) is not int or not 1 <= size <= _MAX_IMAGE_SIZE:
            raise ValueError(f"image_size is {size!r}; expected 1 to {_MAX_IMAGE_SIZE} pixels")
        if type(share) not in (int, float) or not 0.1 <= share <= 2:
            raise ValueError(f"crop_pct is {share!r}; expected 0.1 to 2")
        if mode not in ("center", "squash", "border"):
            raise ValueError(f"crop_mode is {mode!r}; expected 'center', 'squash' or 'border'")
        modes = [resampling.name.lower() for resampling in Image.Resampling]
        if self.interpolation not in modes:
            raise ValueError(f"interpolation is {self.interpolation!r}; expected one of {modes}")


class TimmFeatures(nn.Module):
    """One of timm's models without its classifier.

    Mean, std, image size and preprocessing are those of the model's pretrained weights.

    Args:
        name: timm's name of the model, with a tag or without: ``"resnet50"``,
            ``"resnet50.a1_in1k"``.
        classes: outputs of a linear classifier on the embedding; None for no classifier.
        preprocessing: of ``TimmPreprocessing``, as a file stores it; by default timm's.

    Raises:
        ValueError: timm is not installed or has no such model, the model's images are not square
            or not of three colors, or the preprocessing is invalid.
    """

    def __init__(
        self,
        name: str,
        *,
        classes: int | None = None,
        preprocessing: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        timm = import_timm()
        self.name = name
        self.body = timm_network(name)
        data = timm.data.resolve_model_data_config(self.body)
        channels, height, width = data["input_size"]
        if channels != 3 or height != width:
            raise ValueError(
                f"{PREFIX}{name} takes {channels} x {height} x {width} values; encoders take RGB "
                "squares"
            )
        timms = {key: data[key] for key in ("crop_pct", "crop_mode", "interpolation")}
        self.preprocessing = TimmPreprocessing(**(preprocessing or {"image_size": height, **timms}))
        self.image_size = self.preprocessing.image_size
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(data["mean"]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(data["std"]).view(1, 3, 1, 1))
        last, tensors = self.body.get_classifier(), self.body.state_dict().keys()
        names = [path for path, module in self.body.named_modules() if module is last]
        self.last_layer_is_linear = isinstance(last, nn.Linear)
        self.last_layer = names[0] if self.last_layer_is_linear else ""
        self.body.reset_classifier(0)
        # Of the classifiers, of which distilled models have two.
        self.removed = tuple(sorted(tensors - self.body.state_dict().keys()))
        self.width = int(getattr(self.body, "head_hidden_size", self.body.num_features))
        self.classifier: nn.Linear | None = None
        if classes is not None:
            self.classifier = nn.Linear(self.width, classes)
        self._transform = timm.data.create_transform(
            (self.image_size, self.image_size),
            crop_pct=self.preprocessing.crop_pct,
            crop_mode=self.preprocessing.crop_mode,
            interpolation=self.preprocessing.interpolation,
            mean=data["mean"],  # the color of borders
            normalize=False,
        )

    def preprocess(self, pixels: Tensor) -> Tensor:
        """An image to ``(3, image_size, image_size)``, in [0, 1], as timm does it.

        Args:
            pixels: ``(3, H, W)``, RGB: float in [0, 1], or uint8.

        Pillow resizes 8 bits a channel. Of strips longer than 16 times their width, the middle.
        """
        if self.preprocessing.crop_mode == "center":
            longest = _MAX_ASPECT * min(pixels.shape[1:])
            for axis in (1, 2):
                if (extra := pixels.shape[axis] - longest) > 0:
                    pixels = pixels.narrow(axis, extra // 2, longest)
        if pixels.is_floating_point():
            pixels = (pixels * 255).round().to(torch.uint8)
        values = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())  # (H, W, 3)
        square: Tensor = self._transform(Image.fromarray(values))
        return square / 255

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, 3, image_size, image_size)`` RGB in [0, 1] to ``(B, width)``."""
        return self.body((pixels - self.mean) / self.std)

    def classify(self, pixels: Tensor) -> Logits:
        """``(B, 3, image_size, image_size)`` to logits; there are no auxiliary heads.

        Raises:
            ValueError: it was built without classes.
        """
        if self.classifier is None:
            raise ValueError(f"this {self.name} has no classifier: it was built without classes")
        return Logits(self.classifier(self(pixels)), ())


@cache
def timm_names() -> tuple[str, ...]:
    """The names of timm's models with the prefix, first without tags, then with.

    Raises:
        ValueError: timm is not installed.
    """
    timm = import_timm()
    names = dict.fromkeys([*timm.list_models(), *timm.list_pretrained()])
    return tuple(f"{PREFIX}{name}" for name in names)


def timm_network(name: str) -> Any:
    """A model with its classifier, randomly initialized."""
    return import_timm().create_model(name, pretrained=False)


def fetch_timm(name: str) -> dict[str, Tensor]:
    """The state of one of timm's models that its hub publishes; downloaded once, into its cache.

    Raises:
        OSError: no network, or not the published file of weights.
        ValueError: timm is not installed, or publishes no weights for this model.
    """
    timm = import_timm()
    if not timm.models.is_model_pretrained(name):
        raise ValueError(f"no weights are published for {PREFIX}{name}: give a file with --weights")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            network: nn.Module = timm.create_model(name, pretrained=True)
    except MemoryError:
        raise
    except Exception as error:  # of its hub's client, of a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(
            f"could not download timm's weights for {name}: {reason[:200]}; without a network, "
            "give a file with --weights"
        ) from error
    return dict(network.state_dict())


def import_timm() -> Any:
    """The package.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import timm
        import timm.data
    except ImportError as cause:
        raise ValueError(
            f"encoders {PREFIX}NAME need timm, which is not installed: pip install 'vl[timm]'"
        ) from cause
    return timm
