"""Load weights that BVLC, torchvision or timm publish; fingerprint weights.

encoders/weight_files.py reads files.

All tensors are checked before any is copied: if loading fails, the encoder is unchanged.
"""

import contextlib
import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
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
from vl.encoders.timm_features import TimmFeatures
from vl.encoders.torchvision_features import TorchvisionFeatures, fetch_torchvision
from vl.encoders.weight_files import read_tensors

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

_BVLC = ("response", "published")  # norm and topology of BVLC's GoogLeNet

MakeError = Callable[[str, str], ValueError]  # from a tensor's name and the problem


def load_weights(encoder: nn.Module, path: Path | str) -> None:
    """Load published weights from a file, see ``vl.encoders.weight_files``.

    Args:
        encoder: one that BVLC, torchvision or timm publish weights for.
        path: the file.

    Raises:
        FormatError: not a file of weights, or of another encoder's.
        OSError: the file cannot be read.
    """
    if isinstance(encoder, Inception) and (encoder.norm, encoder.topology) == _BVLC:
        load_caffe(encoder, path)
    elif isinstance(encoder, TimmFeatures):
        from_timm(read_tensors(path), encoder, path=path)
    else:
        from_torchvision(_renamed(read_tensors(path)), encoder, path=path)


def load_caffe(encoder: Inception, path: Path | str) -> None:
    """Load BVLC's GoogLeNet from its .caffemodel file, or a safetensors file of the same blobs.

    Caffe's input was BGR; the channels of the first convolution are reversed to take RGB, and the
    encoder's mean and std become BVLC's. Auxiliary heads in the file are ignored if the encoder
    has none.

    Args:
        encoder: an ``inception_v1``.
        path: blobs by Caffe layer name, ``inception_3a/5x5_reduce.weight``, OIHW, any float dtype.

    Raises:
        FormatError: not a file of weights, or a blob is missing, unknown, of another shape or not
            finite.
        OSError: the file cannot be read.
        ValueError: the encoder is another network than ``inception_v1``.
    """
    if (encoder.norm, encoder.topology) != _BVLC:
        raise ValueError(
            "BVLC's weights are for inception_v1; "
            f"this encoder has norm {encoder.norm!r} and topology {encoder.topology!r}"
        )
    names = {name: _caffe_name(name) for name in _tensor_names(encoder)}
    tensors = _matched(
        encoder,
        names,
        _without_legacy_axes(read_tensors(path), encoder, names),
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


def from_torchvision(
    state_dict: Mapping[str, Tensor], encoder: nn.Module, *, path: Path | str | None = None
) -> None:
    """Copy the state of a torchvision network into its encoder.

    Mean and std of the Inception networks become those of torchvision's ``transform_input``.
    Auxiliary heads in the state are ignored if the encoder has none. The last layer of other
    networks goes into a linear classifier of as many classes; any other classifier is unchanged,
    and that of squeezenet, whose last layer is a convolution.

    Args:
        state_dict: of the whole network, see ``fetch_torchvision``.
        encoder: any that torchvision has weights for.
        path: the file of the state, for errors.

    Raises:
        FormatError: the state of a file does not fit the encoder.
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
        weight = state_dict.get(f"{encoder.last_layer}.weight", torch.empty(0))
        fits = linear and classifier is not None and classifier.out_features == len(weight)
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
        make_error=_make_error(path, f"state of torchvision's {network}"),
    )
    _write(encoder, tensors, **normalization)


def from_timm(
    state_dict: Mapping[str, Tensor], encoder: TimmFeatures, *, path: Path | str | None = None
) -> None:
    """Copy the state of one of timm's models into its encoder.

    The last layer goes into a classifier of as many classes; any other classifier is unchanged.

    Args:
        state_dict: of the whole model, under its present names or those of older files.
        encoder: of the same model.
        path: the file of the state, for errors.

    Raises:
        FormatError: the state of a file does not fit the encoder.
        ValueError: a tensor is missing, unknown, of another shape or not finite.
    """
    names = {name: name.removeprefix("body.") for name in _tensor_names(encoder)}
    # How timm reads older files of this architecture.
    convert = getattr(sys.modules[type(encoder.body).__module__], "checkpoint_filter_fn", None)
    body = [theirs for name, theirs in names.items() if name.startswith("body.")]
    if convert and not all(theirs in state_dict for theirs in body):
        with contextlib.suppress(KeyError, RuntimeError):  # of another architecture
            state_dict = convert(dict(state_dict), encoder.body)
    outputs = len(state_dict.get(f"{encoder.last_layer}.weight", torch.empty(0)))
    for name in [name for name in names if name.startswith("classifier.")]:
        theirs = names.pop(name).replace("classifier", encoder.last_layer, 1)
        if encoder.classifier is not None and encoder.classifier.out_features == outputs:
            names[name] = theirs
    tensors = _matched(
        encoder,
        names,
        state_dict,
        optional=encoder.removed,
        make_error=_make_error(path, f"state of timm's {encoder.name}"),
    )
    _write(encoder, tensors)


def class_count(encoder: nn.Module, path: Path | str) -> int | None:
    """How many classes the published weights in a file have; None if they have no linear layer.

    Args:
        encoder: of torchvision or timm, possibly on the device "meta".
        path: the file.

    Raises:
        FormatError: not a file of weights.
        OSError: the file cannot be read.
    """
    if not isinstance(encoder, TorchvisionFeatures | TimmFeatures):
        return None
    if not encoder.last_layer_is_linear:
        return None
    weight = read_tensors(path).get(f"{encoder.last_layer}.weight")
    return None if weight is None else len(weight)


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


def _make_error(path: Path | str | None, source: str) -> MakeError:
    """Errors of tensors of a file, or of another source."""
    if path is None:
        return lambda tensor, problem: ValueError(f"{source}: {tensor}: {problem}")
    return lambda tensor, problem: FormatError(path, problem, record=f"tensor {tensor}")


def _renamed(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Densenets and transformers of older files of torchvision under its present names."""
    renamed = {}
    for name, tensor in state_dict.items():
        name = re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.(\d\.)", r"\1\2", name)
        name = re.sub(r"\.mlp\.linear_([12])\.", lambda m: f".mlp.{'03'[m[1] == '2']}.", name)
        renamed[name] = tensor
    return renamed


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


def _without_legacy_axes(
    blobs: Mapping[str, Tensor], encoder: nn.Module, names: Mapping[str, str]
) -> dict[str, Tensor]:
    """Blobs as Caffe's newer format has them: in the older, a bias is (1, 1, 1, outputs)."""
    reshaped = dict(blobs)
    for ours, theirs in names.items():
        shape = encoder.get_parameter(ours).shape
        blob = blobs.get(theirs)
        if blob is not None and blob.shape == (1,) * (4 - len(shape)) + tuple(shape):
            reshaped[theirs] = blob.reshape(shape)
    return reshaped


def _torchvision_name(name: str) -> str:
    layer, rest = _layer_and_rest(name)
    return f"{LAYERS[layer][1]}.{rest.replace('convolution.', 'conv.').replace('norm.', 'bn.')}"


def _layer_and_rest(name: str) -> tuple[str, str]:
    layer = next(layer for layer in LAYERS if name.startswith(f"{layer}."))
    return layer, name[len(layer) + 1 :]
