"""Load pretrained weights: BVLC's Caffe blobs and torchvision's state dicts; fingerprint weights.

All tensors are checked before any is copied: if loading fails, the encoder is unchanged.
"""

import contextlib
import hashlib
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from vl.data.errors import FormatError
from vl.encoders.inception import (
    BVLC_MEAN,
    BVLC_STD,
    MODULES,
    TORCHVISION_MEAN,
    TORCHVISION_STD,
    Inception,
)
from vl.encoders.inception_v3 import InceptionV3
from vl.encoders.torchvision_features import TorchvisionFeatures, torchvision_names

# Names of a module's convolutions in BVLC's train_val.prototxt and torchvision's googlenet.py.
BRANCHES = {
    "one": ("1x1", "branch1"),
    "three_reduce": ("3x3_reduce", "branch2.0"),
    "three": ("3x3", "branch2.1"),
    "five_reduce": ("5x5_reduce", "branch3.0"),
    "five": ("5x5", "branch3.1"),
    "projection": ("pool_proj", "branch4.1"),
}
# Our name of a layer: BVLC's, torchvision's.
LAYERS = {
    "stem.0": ("conv1/7x7_s2", "conv1"),
    "stem.3": ("conv2/3x3_reduce", "conv2"),
    "stem.4": ("conv2/3x3", "conv3"),
    **{
        f"inception.{module}.{ours}": (f"inception_{module}/{caffe}", f"inception{module}.{theirs}")
        for module in MODULES
        for ours, (caffe, theirs) in BRANCHES.items()
    },
    "classifier": ("loss3/classifier", "fc"),
    "auxiliary.4a.convolution": ("loss1/conv", "aux1.conv"),
    "auxiliary.4a.hidden": ("loss1/fc", "aux1.fc1"),
    "auxiliary.4a.classifier": ("loss1/classifier", "aux1.fc2"),
    "auxiliary.4d.convolution": ("loss2/conv", "aux2.conv"),
    "auxiliary.4d.hidden": ("loss2/fc", "aux2.fc1"),
    "auxiliary.4d.classifier": ("loss2/classifier", "aux2.fc2"),
}

MakeError = Callable[[str, str], ValueError]  # from a tensor's name and the problem


def load_caffe(encoder: Inception, path: Path | str) -> None:
    """Load BVLC's GoogLeNet from a safetensors file of Caffe's blobs.

    Caffe's input was BGR; the channels of the first convolution are reversed to take RGB, and the
    encoder's mean and std become BVLC's. Auxiliary heads in the file are ignored if the encoder
    has none.

    Args:
        encoder: an ``inception_v1``.
        path: blobs by Caffe layer name, ``inception_3a/5x5_reduce.weight``, OIHW, any float dtype.

    Raises:
        FormatError: not a safetensors file, or a blob is missing, unknown, of another shape or
            not finite.
        OSError: the file cannot be read.
        ValueError: the encoder is another network than ``inception_v1``.
    """
    if (encoder.norm, encoder.topology) != ("response", "published"):
        raise ValueError(
            "BVLC's weights are for inception_v1; "
            f"this encoder has norm {encoder.norm!r} and topology {encoder.topology!r}"
        )
    try:
        blobs = safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise FormatError(path, f"not a safetensors file: {error}") from error
    tensors = _matched(
        encoder,
        {name: _caffe_name(name) for name in _tensor_names(encoder)},
        blobs,
        optional=("loss1/", "loss2/"),
        make_error=lambda blob, problem: FormatError(path, problem, record=f"blob {blob}"),
    )
    tensors["stem.0.convolution.weight"] = tensors["stem.0.convolution.weight"].flip(1)  # to RGB
    _write(encoder, tensors, mean=BVLC_MEAN, std=BVLC_STD)


def load_torchvision(encoder: nn.Module) -> None:
    """Download the weights that torchvision publishes for this encoder and load them.

    Raises:
        OSError: the weights could not be downloaded.
        ValueError: torchvision has no weights for this encoder.
    """
    from_torchvision(fetch_torchvision(_torchvision_network(encoder)), encoder)


def from_torchvision(state_dict: Mapping[str, Tensor], encoder: nn.Module) -> None:
    """Copy the state of a torchvision network into its encoder.

    Mean and std of the Inception networks become those of torchvision's ``transform_input``.
    Auxiliary heads in the state are ignored if the encoder has none. The last layer of other
    networks goes into a linear classifier of ImageNet's 1000 classes; any other classifier is
    unchanged, and that of squeezenet, whose last layer is a convolution.

    Args:
        state_dict: of the whole network, see ``fetch_torchvision``.
        encoder: any that torchvision has weights for.

    Raises:
        ValueError: a tensor is missing, unknown, of another shape or not finite, or torchvision
            has no weights for this encoder.
    """
    network = _torchvision_network(encoder)
    normalization = {"mean": TORCHVISION_MEAN, "std": TORCHVISION_STD}
    optional: tuple[str, ...]
    names = {name: name.removeprefix("body.") for name in _tensor_names(encoder)}
    if isinstance(encoder, TorchvisionFeatures):
        normalization, optional = {}, (f"{encoder.last_layer}.",)
        classifier, linear = encoder.classifier, encoder.last_layer_is_linear
        fits = linear and classifier is not None and classifier.out_features == 1000
        for name in [name for name in names if name.startswith("classifier.")]:
            theirs = names.pop(name).replace("classifier", encoder.last_layer, 1)
            if fits:
                names[name] = theirs
    elif isinstance(encoder, InceptionV3):
        optional = ("AuxLogits.",)
        names = {name: theirs.replace("classifier.", "fc.") for name, theirs in names.items()}
    else:
        optional = ("aux1.", "aux2.")
        names = {name: _torchvision_name(name) for name in names}
    tensors = _matched(
        encoder,
        names,
        state_dict,
        optional=optional,
        make_error=lambda tensor, problem: ValueError(
            f"state of torchvision's {network}: {tensor}: {problem}"
        ),
    )
    _write(encoder, tensors, **normalization)


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


def published_weights(name: str) -> str | None:
    """The source of an encoder's pretrained weights; None if there are none."""
    if name == "inception_v1":
        return "BVLC's, from a file"
    theirs = "googlenet" if name == "inception_v1_torchvision" else name
    if theirs not in torchvision_names():
        return None
    from torchvision import models

    return f"torchvision's {theirs} {models.get_model_weights(theirs).DEFAULT.name}"


def fingerprint(encoder: nn.Module) -> str:
    """Sixteen hexadecimal digits that identify an encoder's weights.

    The start of a SHA-256 over names, shapes, dtypes and bytes of all parameters and buffers except
    ``num_batches_tracked``. Device and memory format do not matter.
    """
    state = {**encoder.state_dict(), **dict(encoder.named_buffers())}  # unsaved buffers as well
    digest = hashlib.sha256()
    for name in sorted(state):
        if not name.endswith("num_batches_tracked"):
            tensor = state[name].detach().cpu().contiguous()
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _torchvision_network(encoder: nn.Module) -> str:
    """The name of the network whose weights the encoder takes.

    Raises:
        ValueError: torchvision has none.
    """
    if isinstance(encoder, TorchvisionFeatures):
        return encoder.name
    if isinstance(encoder, InceptionV3):
        return "inception_v3"
    googlenet = ("batch", "torchvision")
    if isinstance(encoder, Inception) and (encoder.norm, encoder.topology) == googlenet:
        return "googlenet"
    raise ValueError(
        f"torchvision has no weights for this {type(encoder).__name__}; "
        "of GoogLeNets it has them for inception_v1_torchvision"
    )


def _matched(
    encoder: nn.Module,
    names: Mapping[str, str],
    source: Mapping[str, Tensor],
    *,
    optional: tuple[str, ...],
    make_error: MakeError,
) -> dict[str, Tensor]:
    """The source's tensors under our names, all of the expected shape and finite.

    Args:
        encoder: that the tensors are for.
        names: for each of our tensors, its name in the source.
        source: tensors by their names there.
        optional: prefixes of the source's names of heads, which are ignored if ``names`` has none.
        make_error: the error to raise.
    """
    expected = set(names.values())
    ignored = () if any(name.startswith(optional) for name in expected) else optional
    for name in _without_batch_counts(source):
        if name not in expected and not name.startswith(ignored):
            raise make_error(name, "unknown; the encoder has no such tensor")
    state = encoder.state_dict()
    for name, theirs in names.items():
        if theirs not in source:
            missing = len(expected - source.keys())
            raise make_error(theirs, f"missing; so are {missing} of {len(expected)}")
        tensor, target = source[theirs], state[name]
        if tensor.shape != target.shape:
            shapes = f"expected shape {tuple(target.shape)}, got {tuple(tensor.shape)}"
            raise make_error(theirs, shapes)
        if tensor.is_floating_point() != target.is_floating_point():
            raise make_error(theirs, f"expected dtype {target.dtype}, got {tensor.dtype}")
        if not tensor.isfinite().all():
            raise make_error(theirs, "contains NaN or infinity")
    return {name: source[theirs] for name, theirs in names.items()}


def _write(
    encoder: nn.Module,
    tensors: Mapping[str, Tensor],
    **normalization: tuple[float, float, float],
) -> None:
    """Copy the tensors, and the mean and std of colors, into the encoder, in its dtype."""
    state = encoder.state_dict()
    for name, tensor in tensors.items():
        state[name].copy_(tensor)
    for name, values in normalization.items():
        state[name].copy_(torch.tensor(values).view(1, 3, 1, 1))


def _tensor_names(encoder: nn.Module) -> list[str]:
    """Names of all of the encoder's tensors except its mean and std."""
    names = _without_batch_counts(encoder.state_dict())
    return [name for name in names if name not in ("mean", "std")]


def _without_batch_counts(names: Iterable[str]) -> list[str]:
    """Without ``num_batches_tracked``, which older files lack and no output depends on."""
    return [name for name in names if not name.endswith("num_batches_tracked")]


def _caffe_name(name: str) -> str:
    layer, rest = _layer_and_rest(name)
    return f"{LAYERS[layer][0]}.{rest.removeprefix('convolution.')}"


def _torchvision_name(name: str) -> str:
    layer, rest = _layer_and_rest(name)
    return f"{LAYERS[layer][1]}.{rest.replace('convolution.', 'conv.').replace('norm.', 'bn.')}"


def _layer_and_rest(name: str) -> tuple[str, str]:
    layer = next(layer for layer in LAYERS if name.startswith(f"{layer}."))
    return layer, name[len(layer) + 1 :]
