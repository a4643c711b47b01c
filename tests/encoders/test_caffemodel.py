"""Caffe's files: real nets against MNIST, each way to store a blob, and files that are none."""

import gzip
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.helpers.caffemodels import blob, field, integer, net, values, varint
from vl.data.errors import FormatError
from vl.encoders.caffemodel import read_caffemodel


def write(folder, content):
    path = folder / "net.caffemodel"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("file", ["lenet_v1layers", "lenet_v2"])
def test_lenet_reads_digits(shared_data, file):
    """Both LeNets have 99.1 % on all of MNIST's test set."""
    net = read_caffemodel(shared_data / "caffe" / f"{file}.caffemodel")
    assert (net.name, list(net.layers)) == ("LeNet", ["conv1", "conv2", "ip1", "ip2"])
    weights, biases = [], []
    for (weight, bias), shape in zip(
        net.layers.values(), [(20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500)], strict=True
    ):
        weights.append(torch.from_numpy(weight).reshape(shape))
        biases.append(torch.from_numpy(bias).flatten())
    mnist = shared_data / "mnist"
    images = gzip.decompress((mnist / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((mnist / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    count = 2000
    x = torch.frombuffer(bytearray(images), dtype=torch.uint8).view(-1, 1, 28, 28)[:count] / 256
    for weight, bias in zip(weights[:2], biases):
        x = F.max_pool2d(F.conv2d(x, weight, bias), 2)
    x = F.linear(x.flatten(1), weights[2], biases[2]).relu()
    predicted = F.linear(x, weights[3], biases[3]).argmax(1)
    truths = torch.frombuffer(bytearray(labels), dtype=torch.uint8)[:count]
    assert (predicted == truths).float().mean() > 0.98


def test_formats_of_a_net_agree(shared_data):
    """The files of CIFAR10_full are one net, but for the shapes of the older format."""
    older, newer = (
        read_caffemodel(shared_data / "caffe" / f"cifar10_full_{version}.caffemodel").layers
        for version in ("v1layers", "v2")
    )
    shapes = {name: [array.shape for array in arrays] for name, arrays in newer.items()}
    assert shapes["conv3"] == [(64, 32, 5, 5), (64,)]
    assert shapes["ip1"] == [(10, 1024), (10,)]
    assert [array.shape for array in older["ip1"]] == [(1, 1, 10, 1024), (1, 1, 1, 10)]
    assert {name: len(arrays) for name, arrays in older.items()} == dict.fromkeys(newer, 2)


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        *(("<f4", "packed"), ("<f4", "unpacked"), ("<f8", "packed"), ("<f8", "unpacked")),
        *(("<f2", "raw"), ("<f4", "raw"), ("<f8", "raw")),
    ],
)
def test_blobs_keep_their_values(tmp_path, dtype, stored, older):
    arrays = [np.arange(300).reshape(20, 3, 5, 1).astype(dtype), np.arange(20).astype(dtype)]
    content = net({"a/b": [blob(array, stored, legacy=older) for array in arrays]}, older=older)
    (read,) = read_caffemodel(write(tmp_path, content)).layers.values()
    for array, expected in zip(read, arrays, strict=True):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array.reshape(expected.shape), expected)


def test_values_in_parts_and_an_unpacked_shape(tmp_path):
    parts = [values(np.float32([1, 2])), values(np.float32([3]), "unpacked"), integer(99, 7)]
    parts += [values(np.float32([4, 5]), "unpacked"), values(np.float32([6]))]
    content = net({"a": [field(7, integer(1, 2) + integer(1, 3)) + b"".join(parts)]})
    (array,) = read_caffemodel(write(tmp_path, content)).layers["a"]
    assert array.tolist() == [[1, 2, 3], [4, 5, 6]]


ONES = np.ones(30, np.float32)
WHOLE = net({"first": [blob(ONES)], "second": [blob(ONES), blob(ONES[:3])]})


@pytest.mark.parametrize("older", [False, True])
def test_a_file_cut_short_names_the_layer(tmp_path, older):
    whole = net({"first": [blob(ONES)], "second": [blob(ONES)]}, older=older)
    with pytest.raises(FormatError, match=r"net\.caffemodel: layer second: cut short") as error:
        read_caffemodel(write(tmp_path, whole[:-5]))
    assert "first" not in str(error.value)
    with pytest.raises(FormatError, match=r"layer first: cut short"):
        read_caffemodel(write(tmp_path, whole[:50]))


def test_no_cut_passes(tmp_path):
    """Except where a layer ends, which no reader could see."""
    passed = []
    for end in range(len(WHOLE)):
        try:
            read_caffemodel(write(tmp_path, WHOLE[:end]))
            passed.append(end)
        except FormatError as error:
            assert str(tmp_path) in str(error)
    assert passed == [len(net({"first": [blob(ONES)]}))]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no layer has blobs"),
        (b"<!DOCTYPE html><html>Not found</html>", "or .caffemodel file"),
        (b"plain words of a text", "or .caffemodel file"),
        (bytes(1000), "or .caffemodel file"),
        (b"\xff" * 1000, "or .caffemodel file"),
        (field(1, b"net") + field(100, field(1, b"data")), "no layer has blobs"),
        (net({"x": [blob(ONES, shape=(10**6, 10**6, 10**6))]}), "layer x: .* has 30 values"),
        (net({"x": [blob(ONES, shape=(-5, -6))]}), "layer x: .* -5 x -6"),
        (net({"x": [blob(ONES, shape=(1,) * 1000 + (30,))]}), "layer x: "),
        (net({"x": [blob(ONES)]}) + net({"x": [blob(ONES)]}), "layer x: .*two layers"),
        (net({"x": [field(5, b"abc")]}), "layer x: .*3 bytes"),
        (net({"x": [integer(10, 3) + field(12, b"1234")]}), "layer x: .*type 3"),
        (field(100, field(1, b"x") + varint(7 << 3 | 2) + varint(2**62) + b"12"), "layer x: cut"),
    ],
)
def test_refuses_other_content(tmp_path, content, words):
    path = write(tmp_path, content)
    with pytest.raises(FormatError, match=f"{re.escape(str(path))}: .*{words}") as error:
        read_caffemodel(path)
    assert len(str(error.value)) < 400


def test_short_runs_take_linear_time(tmp_path):
    """Single unpacked floats between other fields: a quadratic reader would take minutes."""
    count = 20_000
    pair = values(np.float32([1]), "unpacked") + integer(99, 1)
    content = net({"a": [field(7, field(1, varint(count))) + pair * count]})
    assert read_caffemodel(write(tmp_path, content)).layers["a"][0].sum() == count
