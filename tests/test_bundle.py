"""Model files: round trips, and damaged, incomplete or inconsistent files."""

import pickle
import resource
from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.helpers.tiny_captioner import alter
from vl import bundle
from vl.data.errors import FormatError

CONFIGURATION = {"name": "é", "sizes": [1, 2], "rate": 0.5}


class Tied(nn.Module):
    """Two names of one matrix."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(2, 2, bias=False)
        self.other = nn.Linear(2, 2, bias=False)
        self.other.weight = self.one.weight


class Trap:
    """Ends the test run if it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was opened')",))


def write(path, module=None, **changes):
    chosen = {"kind": "thing", "configuration": CONFIGURATION, **changes}
    bundle.write(path, modules={"part": module or nn.Linear(3, 2)}, **chosen)


def refused(path, match):
    with pytest.raises(FormatError, match=match) as caught:
        bundle.read(path, kind="thing")
    assert str(path) in str(caught.value)


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "thing.safetensors"
    module, other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    module(torch.rand(2, 3, 4, 4))
    write(path, module)
    model = bundle.read(path, kind="thing")
    assert model.configuration == {"format": 1, "kind": "thing", **CONFIGURATION}
    bundle.fill(model, "part", other)
    for name, value in module.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_tied_tensors_must_be_equal(tmp_path):
    path = tmp_path / "thing.safetensors"
    module, other = Tied(), Tied()
    write(path, module)
    bundle.fill(bundle.read(path, kind="thing"), "part", other)
    assert torch.equal(other.other.weight, module.one.weight)
    alter(path, lambda _, tensors: tensors["part.one.weight"].add_(1))
    with pytest.raises(FormatError, match=r"part\.one\.weight: not equal to the one it is tied to"):
        bundle.fill(bundle.read(path, kind="thing"), "part", Tied())


def test_refuses_other_kinds_and_formats(tmp_path):
    path = tmp_path / "thing.safetensors"
    write(path)
    with pytest.raises(FormatError, match="kind 'thing'; expected 'captioner'"):
        bundle.read(path, kind="captioner")
    for version in (2, "1", None, True):
        alter(path, lambda configuration, _, v=version: configuration.update(format=v))
        refused(path, f"model format {version}; this version")


@pytest.mark.parametrize(
    ("metadata", "match"),
    [
        ({"other": "{}"}, "no vl metadata"),
        ({"vl": "[1]"}, "not an object"),
        ({"vl": "[" * 100_000}, "not JSON"),
        ({"vl": "1" * 5000}, "not JSON|not an object"),
    ],
)
def test_refuses_other_metadata(tmp_path, metadata, match):
    path = tmp_path / "thing.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata=metadata)
    refused(path, match)


@pytest.mark.parametrize("whole", [0, 1, 8, 100, -1])
def test_refuses_truncated_files(tmp_path, whole):
    path = tmp_path / "thing.safetensors"
    write(path)
    path.write_bytes(path.read_bytes()[:whole])
    refused(path, "not a whole safetensors file")


@pytest.mark.parametrize("size", [2**63, 2**40, 200])
def test_refuses_headers_of_larger_files(tmp_path, size):
    path = tmp_path / "thing.safetensors"
    path.write_bytes(size.to_bytes(8, "little") + b'{"a":{}}')
    refused(path, "not a whole safetensors file")


def test_refuses_pickles_without_opening_them(tmp_path):
    path = tmp_path / "thing.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    refused(path, "not a whole safetensors file")


def test_missing_files_and_folders(tmp_path):
    for reader in (bundle.is_bundle, lambda path: bundle.read(path, kind="thing")):
        with pytest.raises(FileNotFoundError):
            reader(tmp_path / "none.safetensors")
        with pytest.raises(IsADirectoryError):
            reader(tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.pop("part.bias"), r"tensor part\.bias: missing"),
        (lambda t: t.update({"part.more": torch.zeros(1)}), r"part\.more: not a part of this"),
        (lambda t: t.update({"part.bias": torch.zeros(3)}), r"of shape \(2,\), found float32 of"),
        (lambda t: t.update({"part.bias": torch.zeros(2).long()}), r"found int64 of shape \(2,\)"),
        (lambda t: t["part.weight"][0].fill_(float("nan")), r"part\.weight: not finite"),
        (lambda t: t["part.weight"][0].fill_(float("-inf")), "not finite"),
    ],
)
def test_names_tensors_that_do_not_fit(tmp_path, change, match):
    path = tmp_path / "thing.safetensors"
    write(path)
    alter(path, lambda _, tensors: change(tensors))
    module = nn.Linear(3, 2)
    before = module.weight.clone()
    with pytest.raises(FormatError, match=match) as caught:
        bundle.fill(bundle.read(path, kind="thing"), "part", module)
    assert str(path) in str(caught.value)
    assert torch.equal(module.weight, before)


def test_names_unexpected_tensors(tmp_path):
    path = tmp_path / "thing.safetensors"
    write(path)
    model = bundle.read(path, kind="thing")
    bundle.check_nothing_left(model, ["part"])
    with pytest.raises(FormatError, match=r"part\.bias: not a part of this model"):
        bundle.check_nothing_left(model, ["par", "part.weigh"])


def test_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "thing.safetensors"
    write(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match=r"thing\.safetensors: could not be written"):
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_unwritable_paths_raise_os_error(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "thing", tmp_path):
        with pytest.raises(OSError, match=r"exists|[Nn]ot a directory|not a regular file"):
            write(path)
    assert (tmp_path / "file").read_text() == "x"


def test_is_bundle(tmp_path):
    write(tmp_path / "bundle")
    save_file({"x": torch.zeros(1)}, tmp_path / "plain", metadata={"format": "pt"})
    assert [bundle.is_bundle(tmp_path / name) for name in ("bundle", "plain")] == [True, False]
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(FormatError, match="text"):
        bundle.is_bundle(tmp_path / "text")


def test_reads_one_of_several_kinds(tmp_path):
    write(tmp_path / "thing")
    read = bundle.read(tmp_path / "thing", kind=("other", "thing"))
    assert read.configuration["kind"] == "thing"
    with pytest.raises(FormatError, match="'one' or 'other'"):
        bundle.read(tmp_path / "thing", kind=("one", "other"))


@dataclass(frozen=True)
class Part:
    mode: Literal["a", "b"]
    rate: float = 0.5

    def __post_init__(self):
        if self.rate < 0:
            raise ValueError("rate is negative")


@dataclass(frozen=True)
class Whole:
    part: Part
    names: list[str]
    count: int


WHOLE = {"part": {"mode": "a", "rate": 1}, "names": ["x", "y"], "count": 3}


def test_parse(tmp_path):
    path = tmp_path / "thing.safetensors"
    write(path, configuration=WHOLE)
    file = bundle.read(path, kind="thing")
    assert bundle.parse(file, Whole) == Whole(Part("a", 1), ["x", "y"], 3)
    assert bundle.parse(file, Part, "part") == Part("a", 1)
    with pytest.raises(FormatError, match=r"configuration\.other"):
        bundle.parse(file, Part, "other")


@pytest.mark.parametrize(
    ("change", "record"),
    [
        ({"count": True}, "configuration.count"),
        ({"count": 3.0}, "configuration.count"),
        ({"names": "xy"}, "configuration.names"),
        ({"names": ["x", 1]}, "configuration.names"),
        ({"part": ["a"]}, "configuration.part"),
        ({"part": {"mode": "c", "rate": 1}}, "configuration.part.mode"),
        ({"part": {"mode": "a", "rate": -1}}, "configuration.part"),
        ({"part": {"mode": "a"}}, "missing: rate"),
        ({"more": 1}, "unknown: more"),
    ],
)
def test_parse_refuses_other_configurations(tmp_path, change, record):
    path = tmp_path / "thing.safetensors"
    write(path, configuration={**WHOLE, **change})
    with pytest.raises(FormatError, match=record):
        bundle.parse(bundle.read(path, kind="thing"), Whole)
