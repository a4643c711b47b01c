"""Files of weights by their content: each format, and what is none of them."""

import os
import re

import pytest
import safetensors.torch
import torch

from tests.helpers.caffemodels import blob, net
from vl.data.errors import FormatError
from vl.encoders.weight_files import is_safetensors, read_tensors

STATE = {"conv.weight": torch.ones(2, 3), "conv.bias": torch.zeros(2)}


def legacy(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


def caffe(state, path):
    path.write_bytes(net({"conv": [blob(tensor.numpy()) for tensor in state.values()]}))


@pytest.mark.parametrize(
    "save",
    [
        safetensors.torch.save_file,
        torch.save,
        legacy,
        caffe,
        lambda state, path: torch.save({"epoch": 3, "state_dict": state}, path),
        lambda state, path: torch.save({"model": state}, path),
        lambda state, path: torch.save({f"module.{k}": v for k, v in state.items()}, path),
    ],
)
def test_reads_each_format_whatever_the_suffix(tmp_path, save):
    path = tmp_path / "weights.bin"
    save(STATE, path)
    tensors = read_tensors(path)
    assert tensors.keys() == STATE.keys()
    assert all(torch.equal(tensors[name], STATE[name]) for name in STATE)
    assert is_safetensors(path) == (save is safetensors.torch.save_file)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("mark",)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"\n <!DOCTYPE html><html>Not found</html>", "web page"),
        (b"words of a text that is no file of weights", "caffemodel"),
        (b"\x40\0\0\0\0\0\0\0{cut", "safetensors"),
        (b"PK\x03\x04 cut short", "damaged"),
        (b"\x80\x02cut", "damaged"),
    ],
)
def test_refuses_other_files(tmp_path, content, word):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=f"{re.escape(str(path))}: .*{word}"):
        read_tensors(path)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, Hostile(), torch.nn.Linear(1, 1)])
def test_refuses_other_pickles_and_runs_nothing(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(FormatError, match=r"state dict|more than weights"):
        read_tensors(tmp_path / "weights.pth")
    assert not (tmp_path / "mark").exists()
