"""Writes .caffemodel files: protobuf's wire format, in the variants that nets are found in."""

import numpy as np


def varint(value):
    value %= 1 << 64  # negative integers have ten bytes
    output = b""
    while value > 127:
        output += bytes([value & 127 | 128])
        value >>= 7
    return output + bytes([value])


def field(number, data):
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def integer(number, value):
    return varint(number << 3) + varint(value)


def values(array, stored="packed"):
    """The values of a blob: packed or unpacked floats, doubles, or NVIDIA's raw bytes."""
    array = np.asarray(array)
    if stored == "raw":
        kind = {np.dtype("<f8"): 0, np.dtype("<f4"): 1, np.dtype("<f2"): 2}[array.dtype]
        return integer(10, kind) + field(12, array.tobytes())
    number, wire = (8, 1) if array.dtype == np.float64 else (5, 5)
    if stored == "packed":
        return field(number, array.tobytes())
    return b"".join(varint(number << 3 | wire) + value.tobytes() for value in array.ravel())


def blob(array, stored="packed", *, shape=None, legacy=False):
    """A BlobProto; ``shape`` may lie, and ``legacy`` is num, channels, height and width."""
    shape = np.shape(array) if shape is None else shape
    if legacy:
        axes = (1,) * (4 - len(shape)) + tuple(shape)
        return b"".join(integer(1 + i, axis) for i, axis in enumerate(axes)) + values(array, stored)
    return field(7, field(1, b"".join(map(varint, shape)))) + values(array, stored)


def net(layers, *, older=False):
    """A net of layers with blobs by name, in the format ``layer`` or the older ``layers``."""
    number, name_field, blobs_field = (2, 4, 6) if older else (100, 1, 7)
    output = field(1, b"net")
    for name, blobs in layers.items():
        written = b"".join(field(blobs_field, each) for each in blobs)
        output += field(number, field(name_field, name.encode()) + written)
    return output


def googlenet(blobs, *, older=False):
    """A net of blobs by name, ``conv1/7x7_s2.weight``, as float32."""
    layers = {}
    for name, tensor in sorted(blobs.items(), key=lambda item: item[0].endswith("bias")):
        array = tensor.float().numpy()
        layers.setdefault(name.rpartition(".")[0], []).append(blob(array, legacy=older))
    return net(layers, older=older)
