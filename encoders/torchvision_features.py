"""Any of torchvision's classification networks as an encoder: all of it but the last layer.

torchvision and not timm, as torchvision's are the published weights that docs/encoder.md compares:
timm 1.0.31 has them for 37 of torchvision's 80 networks, and neither AlexNet nor GoogLeNet at all.
It is imported when one of its networks is built: it brings torch._dynamo, which takes 2 s.
"""

import contextlib
import pickle
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from vl.encoders.inception import Logits


class TorchvisionFeatures(nn.Module):
    """One of torchvision's classification networks without its last layer.

    Mean, std and image size are those of the network's default weights. A dropout right before
    the last layer is removed with it, as it belongs to the classifier.

    Args:
        name: torchvision's name of the network: ``"resnet50"``.
        classes: outputs of a linear classifier on the embedding; None for no classifier.

    Raises:
        ValueError: torchvision has no such classification network, or the network's last layer
            does not classify.
    """

    def __init__(self, name: str, *, classes: int | None = None) -> None:
        super().__init__()
        if name not in torchvision_names():
            raise ValueError(f"torchvision has no classification network {name!r}")
        preset = _models().get_model_weights(name).DEFAULT.transforms()
        self.name = name
        self.image_size = _image_size(name)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(preset.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(preset.std).view(1, 3, 1, 1))
        self.body = torchvision_network(name)
        self.last_layer, layer, dropout = _remove_last_layer(self.body)
        self.last_layer_is_linear = isinstance(layer, nn.Linear)
        self.width = layer.weight.shape[1]
        self.dropout = nn.Dropout(_DROPOUTS.get(name, dropout))
        self.classifier: nn.Linear | None = None
        if classes is not None:
            self.classifier = nn.Linear(self.width, classes, bias=layer.bias is not None)

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
        return Logits(self.classifier(self.dropout(self(pixels))), ())


# Networks whose dropout is not a module beside the last layer; as in torchvision's builders.
_DROPOUTS = {"googlenet": 0.2, "inception_v3": 0.5}


@cache
def torchvision_names() -> tuple[str, ...]:
    """The names of torchvision's classification networks."""
    return tuple(_models().list_models(module=_models()))


def torchvision_network(name: str) -> nn.Module:
    """A classification network with its last layer, randomly initialized."""
    network: nn.Module = _models().get_model(name, weights=None, **_options(name))
    return network


def fetch_torchvision(name: str) -> dict[str, Tensor]:
    """The published state of a classification network, by torchvision's name.

    Downloaded once from download.pytorch.org, the address in ``torchvision.models``, into the
    ``checkpoints`` folder of ``torch.hub.get_dir()``. A download is checked against the hash in its
    name; a file already in the folder is not, but it is refused if it contains anything but
    tensors. torchvision renames the tensors of older files.

    Args:
        name: ``"googlenet"``, ``"inception_v3"``, ``"resnet50"``.

    Raises:
        OSError: no network, or not the published file of weights.
        ValueError: torchvision has no such network.
    """
    from torchvision import models

    weights = models.get_model_weights(name).DEFAULT
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch.hub prints its destination
            # get_model unpickles any file; one that passes this runs no code.
            weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
            network = models.get_model(name, weights=weights, progress=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle raises a dozen kinds
        reason = str(getattr(error, "reason", error)).partition("\n")[0] or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch explains how to load it anyway
            reason = "the file is damaged or contains more than weights"
        raise OSError(
            f"could not download torchvision's weights for {name} from {weights.url}: "
            f"{reason}; without a network, put the file into "
            f"{Path(torch.hub.get_dir()) / 'checkpoints'}"
        ) from error
    return dict(network.state_dict())


def _models() -> ModuleType:
    from torchvision import models

    return models


def _image_size(name: str) -> int:
    return int(_models().get_model_weights(name).DEFAULT.transforms().crop_size[0])


def _options(name: str) -> dict[str, object]:
    """Arguments of torchvision's builder, so that its default weights fit and get their input."""
    if name.startswith("vit_"):  # the only ones whose weights depend on the image size
        return {"image_size": _image_size(name)}
    if name in _DROPOUTS:
        return {"transform_input": True, "init_weights": False, "aux_logits": False, "dropout": 0.0}
    return {}


def _remove_last_layer(body: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d, float]:
    """Replace the classifier, and a dropout right before it, by identities.

    Returns:
        Its name, the layer, which is a convolution in squeezenet, and the probability of dropout.
    """
    name, layer = [
        (name, layer)
        for name, layer in body.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ][-1]
    if len(layer.weight) != 1000:  # ImageNet's, for which all of them are built by default
        raise ValueError(
            f"the last layer, {name}, has {len(layer.weight)} outputs; expected 1000 classes"
        )
    path, _, child = name.rpartition(".")
    parent = body.get_submodule(path)
    probability = 0.0
    if isinstance(parent, nn.Sequential):
        names = [name for name, _ in parent.named_children()]
        before = names[names.index(child) - 1]
        dropout = parent.get_submodule(before)
        if isinstance(dropout, nn.Dropout):
            probability = dropout.p
            setattr(parent, before, nn.Identity())
    setattr(parent, child, nn.Identity())
    return name, layer, probability
