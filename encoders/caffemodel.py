"""Caffe's .caffemodel files: the blobs of each layer, read from protobuf's wire format.

Both of Caffe's formats, ``layer`` and the older ``layers``; nothing but NumPy is needed.

Source:
    caffe.proto of BVLC's Caffe; ``raw_data`` from OpenCV's opencv-caffe.proto, as NVIDIA's Caffe
    writes it; "Encoding" at protobuf.dev.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vl.data.errors import FormatError

# Numbers of fields in caffe.proto.
_NET_NAME = 1
_LAYER_FIELDS = {2: (4, 6), 100: (1, 7)}  # of a net's layers: V1LayerParameter, LayerParameter
_LEGACY_SHAPE = (1, 2, 3, 4)  # of a blob: num, channels, height, width
_DATA, _SHAPE, _DOUBLE_DATA, _RAW_TYPE, _RAW_DATA = 5, 7, 8, 10, 12
_RAW_DTYPES = {0: "<f8", 1: "<f4", 2: "<f2"}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_MAX_VARINT = 10  # bytes
_LEAST_RUN = 64  # fields that are compared at once
_MAX_AXES = 32  # as Caffe

Blob = NDArray[np.floating]


class CaffeNet(NamedTuple):
    """The content of a .caffemodel file."""

    name: str
    layers: dict[str, list[Blob]]  # of layers with blobs: those, weight before bias


def read_caffemodel(path: Path | str) -> CaffeNet:
    """The blobs of a .caffemodel file, of any net.

    Returns:
        Blobs in the file's shapes and precision. The older format has four axes for every blob:
        (1, 1, 10, 500) for a fully connected layer.

    Raises:
        FormatError: not a .caffemodel file, or one without blobs; it is cut short, or the shape of
            a blob does not match its values.
        OSError: the file cannot be read.
    """
    name, layers = "", dict[str, list[Blob]]()
    try:
        for number, value in _fields(memoryview(Path(path).read_bytes())):
            if number == _NET_NAME and isinstance(value, memoryview):
                name = _text(value)
            elif number in _LAYER_FIELDS and isinstance(value, memoryview):
                layer, blobs = _layer(value, *_LAYER_FIELDS[number])
                if blobs and layer in layers:
                    raise _MalformedError("there are two layers of this name", f"layer {layer}")
                if blobs:
                    layers[layer] = blobs
    except _MalformedError as problem:
        if not layers and problem.layer is None:
            expected = "not a safetensors, .pth or .caffemodel file"
            raise FormatError(path, f"{expected} ({problem})") from problem
        record = problem.layer or f"after layer {list(layers)[-1]}"
        raise FormatError(path, str(problem), record=record) from problem
    if not layers:
        raise FormatError(path, "not a .caffemodel file with weights: no layer has blobs")
    return CaffeNet(name, layers)


class _MalformedError(ValueError):
    """Bytes that are not what they should be, in a layer if that is known."""

    def __init__(self, problem: str, layer: str | None = None) -> None:
        super().__init__(problem)
        self.layer = layer


_Value = int | memoryview | Blob


def _layer(data: memoryview, name_field: int, blobs_field: int) -> tuple[str, list[Blob]]:
    """Name and blobs of a layer."""
    name, blobs = "", []
    try:
        for number, value in _fields(data):
            if number == name_field and isinstance(value, memoryview):
                name = _text(value)
            elif number == blobs_field and isinstance(value, memoryview):
                blobs.append(value)
        return name, [_blob(blob) for blob in blobs]
    except _MalformedError as problem:
        raise _MalformedError(str(problem), f"layer {name}" if name else None) from problem


def _blob(data: memoryview) -> Blob:
    """A BlobProto's values in its shape."""
    shape, legacy = list[int](), dict[int, int]()
    parts, raw_type = list[Blob](), 1
    for number, value in list(_fields(data)):  # all of it, so that one cut short is called so
        if number == _SHAPE and isinstance(value, memoryview):
            shape += _integers(value)
        elif number in _LEGACY_SHAPE and isinstance(value, int):
            legacy[number] = value
        elif number == _RAW_TYPE and isinstance(value, int):
            raw_type = value
        elif number in (_DATA, _DOUBLE_DATA, _RAW_DATA) and not isinstance(value, int):
            dtype = {_DATA: "<f4", _DOUBLE_DATA: "<f8"}.get(number) or _RAW_DTYPES.get(raw_type)
            if dtype is None:
                raise _MalformedError(f"values of NVIDIA's type {raw_type}, which is no float")
            if len(value) and isinstance(value, memoryview):
                if len(value) % np.dtype(dtype).itemsize:
                    raise _MalformedError(f"{len(value):,} bytes are no whole number of values")
                value = np.frombuffer(value, dtype)
            parts.append(value if isinstance(value, np.ndarray) else np.empty(0, dtype))
    if not shape and legacy:
        shape = [legacy.get(axis, 0) for axis in _LEGACY_SHAPE]
    count, found = math.prod(shape), sum(map(len, parts))
    if len(shape) > _MAX_AXES or min(shape, default=0) < 0 or count != found or not parts:
        axes = " x ".join(map(str, shape[: _MAX_AXES + 1]))
        raise _MalformedError(f"a blob of shape {axes or '()'} has {found:,} values")
    # A copy, as the values lie unaligned in the file, and would keep all of it in memory.
    return np.concatenate(parts).reshape(shape)


def _integers(data: memoryview) -> Iterator[int]:
    """The axes of a BlobShape, packed or not."""
    for number, value in _fields(data):
        position = 0
        if number == 1 and isinstance(value, int):
            yield _signed(value)
        elif number == 1 and isinstance(value, memoryview):
            while position < len(value):
                axis, position = _varint(value, position)
                yield _signed(axis)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _text(data: memoryview) -> str:
    return bytes(data).decode("utf-8", "replace")


def _fields(data: memoryview) -> Iterator[tuple[int, _Value]]:
    """The fields of a message: their numbers, and a varint, bytes, or fixed-width floats.

    A run of fixed-width fields of one number, which is how unpacked floats are stored, comes as
    one array. Of bytes that are cut short the rest comes first, the error after it.
    """
    position, end = 0, len(data)
    while position < end:
        start = position
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if number == 0 or wire not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
            raise _MalformedError(f"byte {start:,} of {end:,} begins no field")
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield number, value
        elif wire == _BYTES:
            length, position = _varint(data, position)
            yield number, data[position : position + length]
            if position + length > end:
                raise _MalformedError(
                    f"cut short: expected {length:,} bytes, found {end - position:,}"
                )
            position += length
        else:
            values, position = _run(data, start, position, "<f8" if wire == _FIXED64 else "<f4")
            yield number, values


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """A varint and the position after it."""
    value = 0
    for index, byte in enumerate(data[position : position + _MAX_VARINT]):
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value, position + index + 1
    raise _MalformedError("cut short" if len(data) - position < _MAX_VARINT else "no varint ends")


def _run(data: memoryview, start: int, first: int, dtype: str) -> tuple[Blob, int]:
    """The values of successive fixed-width fields with the same key, and the position after them.

    Args:
        data: the message.
        start: position of the first key.
        first: position of the first value.
        dtype: of a value.
    """
    key = np.void(bytes(data[start:first]))
    record = np.dtype([("key", key.dtype), ("value", dtype)])
    available = (len(data) - start) // record.itemsize
    if not available:
        raise _MalformedError("cut short")
    size = _LEAST_RUN
    while True:  # larger each time, so that short runs between other fields take no quadratic time
        size = min(size, available)
        records = np.frombuffer(data, record, size, start)
        others = np.flatnonzero(records["key"] != key)
        if len(others) or size == available:
            count = int(others[0]) if len(others) else size
            return records["value"][:count], start + count * record.itemsize
        size *= 4
