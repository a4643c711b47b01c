"""Bring trained weights in: BVLC's Caffe blobs, torchvision's state dicts; and tell weights apart.

Everything is checked before anything is written: a refused file leaves the encoder as it was.
"""

import contextlib
import hashlib
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torchvision import models

from vl.data.errors import FormatError
from vl.encoders.bn_inception import BNInception
from vl.encoders.inception import (
    BVLC_MEAN,
    BVLC_STD,
    MODULES,
    TORCHVISION_MEAN,
    TORCHVISION_STD,
    Inception,
)
from vl.encoders.inception_v3 import InceptionV3
from vl.encoders.lenet import LeNet5
from vl.encoders.table import TORCHVISION_NAMES, Network, TorchvisionFeatures

# What BVLC's train_val.prototxt and torchvision/models/googlenet.py call the parts of a module.
BRANCHES = {
    "one": ("1x1", "branch1"),
    "three_reduce": ("3x3_reduce", "branch2.0"),
    "three": ("3x3", "branch2.1"),
    "five_reduce": ("5x5_reduce", "branch3.0"),
    "five": ("5x5", "branch3.1"),
    "projection": ("pool_proj", "branch4.1"),
}
# Our layer: BVLC's, torchvision's.
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

Fault = Callable[[str, str], ValueError]  # the tensor's name and what is wrong with it


def load_caffe(encoder: Inception, path: Path | str, *, heads_may_be_missing: bool = False) -> None:
    """Read BVLC's GoogLeNet from a safetensors file of Caffe's blobs.

    Caffe fed it BGR; the first convolution is turned round to take our RGB, and the encoder's mean
    and std become BVLC's. Auxiliary heads in the file are left there if the encoder has none.

    Args:
        encoder: an ``inception_v1``.
        path: blobs by Caffe layer name, ``inception_3a/5x5_reduce.weight``, OIHW, any float dtype.
        heads_may_be_missing: whether an encoder with auxiliary heads keeps its own where the file
            has none; else that is an error.

    Raises:
        FormatError: not a safetensors file, or a blob that is missing, unknown, of another shape
            or not finite.
        OSError: the file cannot be read.
        ValueError: the encoder is a GoogLeNet of another kind.
    """
    if (encoder.norm, encoder.topology) != ("response", "published"):
        raise ValueError(
            "BVLC's weights fit inception_v1 only; "
            f"this encoder has norm {encoder.norm!r} and topology {encoder.topology!r}"
        )
    try:
        blobs = safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise FormatError(path, f"not a safetensors file: {error}") from error
    found = _matched(
        encoder,
        {ours: _caffe_name(ours) for ours in _own_names(encoder)},
        blobs,
        heads=("loss1/", "loss2/"),
        heads_may_be_missing=heads_may_be_missing,
        fault=lambda blob, problem: FormatError(path, problem, record=f"blob {blob}"),
    )
    found["stem.0.convolution.weight"] = found["stem.0.convolution.weight"].flip(1)  # BGR to RGB
    _write(encoder, found, mean=BVLC_MEAN, std=BVLC_STD)


def from_torchvision_googlenet(
    state_dict: Mapping[str, Tensor], encoder: Inception, *, heads_may_be_missing: bool = False
) -> None:
    """Copy the state of torchvision's ``googlenet`` into an ``inception_v1_torchvision``.

    The encoder's mean and std become those of torchvision's ``transform_input``. Auxiliary heads
    in the state are left there if the encoder has none.

    Args:
        state_dict: with ``aux1`` and ``aux2`` or without.
        encoder: an ``inception_v1_torchvision``.
        heads_may_be_missing: as in ``load_caffe``. In torchvision's published weights they are
            untrained, and ``fetch_torchvision`` does not give them.

    Raises:
        ValueError: a tensor is missing, unknown, of another shape or not finite, or the encoder
            is a GoogLeNet of another kind.
    """
    if (encoder.norm, encoder.topology) != ("batch", "torchvision"):
        raise ValueError(
            "torchvision's googlenet fits inception_v1_torchvision only; "
            f"this encoder has norm {encoder.norm!r} and topology {encoder.topology!r}"
        )
    found = _matched(
        encoder,
        {ours: _torchvision_name(ours) for ours in _own_names(encoder)},
        state_dict,
        heads=("aux1.", "aux2."),
        heads_may_be_missing=heads_may_be_missing,
        fault=partial(_state_fault, "googlenet"),
    )
    _write(encoder, found, mean=TORCHVISION_MEAN, std=TORCHVISION_STD)


def from_torchvision_inception_v3(
    state_dict: Mapping[str, Tensor], encoder: InceptionV3, *, heads_may_be_missing: bool = False
) -> None:
    """Copy the state of torchvision's ``inception_v3`` into ours.

    The encoder's mean and std become those of torchvision's ``transform_input``. An auxiliary head
    in the state is left there if the encoder has none.

    Args:
        state_dict: with ``AuxLogits`` or without.
        encoder: an ``inception_v3``.
        heads_may_be_missing: as in ``load_caffe``.

    Raises:
        ValueError: a tensor is missing, unknown, of another shape or not finite.
    """
    names = {
        ours: ours.replace("classifier.", "fc.").removeprefix("body.")
        for ours in _own_names(encoder)
    }
    found = _matched(
        encoder,
        names,
        state_dict,
        heads=("AuxLogits.",),
        heads_may_be_missing=heads_may_be_missing,
        fault=partial(_state_fault, "inception_v3"),
    )
    _write(encoder, found, mean=TORCHVISION_MEAN, std=TORCHVISION_STD)


def from_torchvision_features(
    state_dict: Mapping[str, Tensor], encoder: TorchvisionFeatures
) -> None:
    """Copy the state of a torchvision network into what is left of it.

    The network's last layer goes into the encoder's classifier where that has ImageNet's 1000
    classes and the layer is a matrix; a classifier of other classes, or in the place of
    squeezenet's last convolution, stays as it is.

    Args:
        state_dict: of the whole network, as ``fetch_torchvision(encoder.name)`` gives it.
        encoder: the same network without its last layer.

    Raises:
        ValueError: a tensor is missing, unknown, of another shape or not finite.
    """
    last = [f"{encoder.last_layer}.{kind}" for kind in ("weight", "bias")]
    names = {ours: ours.removeprefix("body.") for ours in _own_names(encoder)}
    heads = {name for name in names if name.startswith("classifier.")}
    classifier = encoder.classifier
    if classifier is not None and classifier.out_features == 1000 and encoder.matrix:
        names |= {name: name.replace("classifier", encoder.last_layer, 1) for name in heads}
        last = []
    else:
        names = {ours: theirs for ours, theirs in names.items() if ours not in heads}
    found = _matched(
        encoder,
        names,
        {name: tensor for name, tensor in state_dict.items() if name not in last},
        fault=partial(_state_fault, encoder.name),
    )
    _write(encoder, found)


def load_torchvision(
    encoder: Network, *, heads_may_be_missing: bool = False, progress: bool = False
) -> None:
    """Fetch what torchvision publishes for this encoder and copy it in.

    Args:
        encoder: anything of the table that torchvision has weights for.
        heads_may_be_missing: as in ``load_caffe``; googlenet's heads always are.
        progress: whether a bar on stderr shows the download.

    Raises:
        OSError: the weights could not be fetched.
        ValueError: torchvision has no weights for this encoder.
    """
    if isinstance(encoder, TorchvisionFeatures):
        from_torchvision_features(fetch_torchvision(encoder.name, progress=progress), encoder)
        return
    if isinstance(encoder, InceptionV3):
        state = fetch_torchvision("inception_v3", progress=progress)
        from_torchvision_inception_v3(state, encoder, heads_may_be_missing=heads_may_be_missing)
        return
    if isinstance(encoder, BNInception | LeNet5):
        network = "BN-Inception" if isinstance(encoder, BNInception) else "LeNet-5"
        raise ValueError(f"torchvision has no weights for {network}")
    if (encoder.norm, encoder.topology) != ("batch", "torchvision"):
        raise ValueError(
            f"torchvision has no weights for a GoogLeNet with norm {encoder.norm!r} and topology "
            f"{encoder.topology!r}; it has them for inception_v1_torchvision"
        )
    state = fetch_torchvision("googlenet", progress=progress)
    from_torchvision_googlenet(state, encoder, heads_may_be_missing=heads_may_be_missing)


def fetch_torchvision(name: str, *, progress: bool = False) -> dict[str, Tensor]:
    """The state that torchvision publishes for a classification network, by torchvision's name.

    It comes from download.pytorch.org, the address that the network's default weights in
    ``torchvision.models`` hold, once: after that from the ``checkpoints`` folder in
    ``torch.hub.get_dir()``. A download is compared with the hash in its name; a file that was in
    the folder is not, but it is refused if it holds anything but tensors. torchvision renames the
    tensors of older files.

    Args:
        name: ``"googlenet"``, ``"inception_v3"``, ``"resnet50"``.
        progress: whether a bar on stderr shows the download.

    Raises:
        OSError: no network, not the file that was published, or not a file of weights.
        ValueError: torchvision has no such network.
    """
    weights = models.get_model_weights(name).DEFAULT
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch.hub prints where it downloads to
            # get_model unpickles whatever lies there; what passes this runs no code.
            weights.get_state_dict(progress=progress, check_hash=True, weights_only=True)
            network = models.get_model(name, weights=weights, progress=progress)
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle raises a dozen kinds
        reason = str(getattr(error, "reason", error)).partition("\n")[0] or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch explains how to load it all the same
            reason = "the file is damaged or holds more than weights"
        raise OSError(
            f"could not fetch torchvision's weights for {name} from {weights.url}: "
            f"{reason}; without a network, put that file into "
            f"{Path(torch.hub.get_dir()) / 'checkpoints'}"
        ) from error
    return dict(network.state_dict())


def published_weights(name: str) -> str | None:
    """Whose weights there are for an encoder of the table; None if nobody's that we can read."""
    if name == "inception_v1":
        return "BVLC's, from a file"
    theirs = "googlenet" if name == "inception_v1_torchvision" else name
    if theirs not in TORCHVISION_NAMES:
        return None
    return f"torchvision's {theirs} {models.get_model_weights(theirs).DEFAULT.name}"


def fingerprint(encoder: nn.Module) -> str:
    """Sixteen hexadecimal digits that change with any number that the encoder's answer depends on.

    They are the start of a SHA-256 over names, shapes, dtypes and bytes of all parameters and
    buffers, the count of batches seen apart. Device and memory format do not matter.
    """
    state = {**encoder.state_dict(), **dict(encoder.named_buffers())}  # unsaved buffers as well
    digest = hashlib.sha256()
    for name in sorted(state):
        if not name.endswith("num_batches_tracked"):
            tensor = state[name].detach().cpu().contiguous()
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _matched(
    encoder: nn.Module,
    names: Mapping[str, str],
    given: Mapping[str, Tensor],
    *,
    heads: tuple[str, ...] = (),
    heads_may_be_missing: bool = False,
    fault: Fault,
) -> dict[str, Tensor]:
    """Their tensors under our names, each of the right shape and finite.

    Args:
        encoder: what the tensors are for.
        names: for each of our tensors, what they call it.
        given: their tensors.
        heads: how their names of the auxiliary heads' tensors begin.
        heads_may_be_missing: whether ``given`` may lack all of the heads.
        fault: the error to raise.
    """
    own_heads = [theirs for theirs in names.values() if theirs.startswith(heads)]
    if own_heads and not any(name.startswith(heads) for name in given):
        if not heads_may_be_missing:
            raise fault(
                own_heads[0],
                "missing, as is all of the auxiliary heads; "
                "heads_may_be_missing=True leaves the encoder's as they are",
            )
        names = {ours: theirs for ours, theirs in names.items() if theirs not in own_heads}
    spare = heads if not own_heads else ()
    known = set(names.values())
    for name in _without_counts(given):
        if name not in known and not name.startswith(spare):
            raise fault(name, "unknown; the encoder has nothing of this name")
    own = encoder.state_dict()
    for ours, theirs in names.items():
        if theirs not in given:
            missing = len(known - given.keys())
            raise fault(theirs, f"missing; {missing} of {len(known)} are")
        tensor, target = given[theirs], own[ours]
        if tensor.shape != target.shape:
            raise fault(theirs, f"expected shape {tuple(target.shape)}, got {tuple(tensor.shape)}")
        if tensor.is_floating_point() != target.is_floating_point():
            raise fault(theirs, f"expected numbers like {target.dtype}, got {tensor.dtype}")
        if not tensor.isfinite().all():
            raise fault(theirs, "holds NaN or infinity")
    return {ours: given[theirs] for ours, theirs in names.items()}


def _write(
    encoder: nn.Module,
    tensors: Mapping[str, Tensor],
    **colours: tuple[float, float, float],
) -> None:
    """Copy the tensors, and the colours' mean and std, into the encoder, in its own dtype."""
    own = encoder.state_dict()
    for name, tensor in tensors.items():
        own[name].copy_(tensor)
    for name, values in colours.items():
        own[name].copy_(torch.tensor(values).view(1, 3, 1, 1))


def _state_fault(network: str, tensor: str, problem: str) -> ValueError:
    return ValueError(f"state of torchvision's {network}: {tensor}: {problem}")


def _own_names(encoder: nn.Module) -> list[str]:
    """Names of all of the encoder's tensors but its mean and std."""
    return [name for name in _without_counts(encoder.state_dict()) if name not in ("mean", "std")]


def _without_counts(names: Iterable[str]) -> list[str]:
    """Less the batch norms' counts of batches: older files lack them and no answer needs them."""
    return [name for name in names if not name.endswith("num_batches_tracked")]


def _caffe_name(ours: str) -> str:
    layer, rest = _layer_and_rest(ours)
    return f"{LAYERS[layer][0]}.{rest.removeprefix('convolution.')}"


def _torchvision_name(ours: str) -> str:
    layer, rest = _layer_and_rest(ours)
    return f"{LAYERS[layer][1]}.{rest.replace('convolution.', 'conv.').replace('norm.', 'bn.')}"


def _layer_and_rest(ours: str) -> tuple[str, str]:
    layer = next(layer for layer in LAYERS if ours.startswith(f"{layer}."))
    return layer, ours[len(layer) + 1 :]
