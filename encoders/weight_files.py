"""Tensors by their names from files of weights: safetensors, PyTorch's .pth, Caffe's .caffemodel.

The format is detected from the content. Nothing in a file is run: pickles may contain tensors only.
"""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from vl.data.errors import FormatError
from vl.encoders.caffemodel import read_caffemodel

_CAFFE_NAMES = ("weight", "bias")  # of a layer's blobs; further ones are numbered


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a file of weights.

    Args:
        path: a safetensors file; a .pth file with a state dict, which may be under ``state_dict``
            or ``model``, as trainings save it; or a .caffemodel file, whose blobs are named
            ``conv1.weight``, ``conv1.bias``.

    Raises:
        FormatError: the file is none of these, damaged, or contains other things than tensors.
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        start = file.read(16)
    if not start:
        raise FormatError(path, "the file is empty")
    if start.lstrip()[:1] == b"<":
        raise FormatError(path, "a web page or other text in HTML or XML, not weights")
    if is_safetensors(path):
        try:
            return safetensors.torch.load_file(path)
        except SafetensorError as error:
            raise FormatError(path, f"not a whole safetensors file: {error}") from error
    if start.startswith((b"PK\3\4", b"\x80")):  # a zip archive; a pickle, as before PyTorch 1.6
        return _read_pth(path)
    blobs = {}
    for layer, arrays in read_caffemodel(path).layers.items():
        for index, array in enumerate(arrays):
            name = _CAFFE_NAMES[index] if index < len(_CAFFE_NAMES) else str(index)
            blobs[f"{layer}.{name}"] = torch.from_numpy(array)
    return blobs


def is_safetensors(path: Path | str) -> bool:
    """Whether a file begins as safetensors do: eight bytes of length, then an object in JSON.

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_pth(path: Path | str) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # a damaged pickle raises a dozen kinds
        problem = "a .pth file that is damaged or contains more than weights"
        raise FormatError(path, problem) from error
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise FormatError(path, "a .pth file, but not of a state dict: tensors by their names")
    # Prefix of the names under DataParallel.
    return {name.removeprefix("module."): value for name, value in state.items()}
