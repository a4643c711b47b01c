"""Training a labeller in processes that are killed, or that train together."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers import colored_images as coloured
from tests.helpers.tiny_captioner import Tiny
from vl.encoders.table import ENCODERS
from vl.labelling.labeller import Labeller

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["--encoder", "tiny", "--views", "plain", "--batch-size", "8", "--device", "cpu"]
FLAGS += ["--development-share", "0.25", "--learning-rate", "0.02"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)
    coloured.folders(tmp_path / "images")
    coloured.words(tmp_path / "words.txt")
    coloured.weights(tmp_path / "weights")
    return tmp_path


def run(folder, output, *flags, die_at=None, processes=1):
    """The exit code of a run in a process, or in several."""
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    command += ["tests.processes.labeller_run", *(["--die-at", str(die_at)] if die_at else [])]
    command += [str(folder / "images"), "--word-vectors", str(folder / "words.txt"), *FLAGS]
    command += ["--weights", str(folder / "weights"), "--output-dir", str(folder / output)]
    return subprocess.run(
        [*command, *flags], cwd=ROOT, timeout=120, check=False, capture_output=True
    ).returncode


@pytest.mark.slow
def test_killed_run_ends_with_the_same_file(folder):
    """In the third of five epochs of three batches, and again after resuming."""
    flags = ["--loss", "first", "--epochs", "5"]
    assert run(folder, "whole", *flags) == 0
    assert run(folder, "killed", *flags, die_at=8) == -9
    assert run(folder, "killed", *flags, "--resume", die_at=2) == -9
    assert not (folder / "killed/labeller.safetensors").exists()
    assert run(folder, "killed", *flags, "--resume") == 0
    whole, killed = (folder / name / "labeller.safetensors" for name in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()


@pytest.mark.slow
def test_two_processes_have_the_loss_of_one(folder):
    flags = ["--loss", "full", "--epochs", "16", "--patience", "99"]
    assert run(folder, "one", *flags) == 0
    assert run(folder, "two", *flags, processes=2) == 0
    one, two = (
        [json.loads(line) for line in (folder / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert len(one) == len(two) > 20
    for line, same in zip(one, two, strict=True):
        assert line.keys() == same.keys()
        assert line.get("loss", 0) == pytest.approx(same.get("loss", 0), abs=1e-4)
    weights = [
        Labeller.load(folder / name / "labeller.safetensors").projections["devise"].projection
        for name in ("one", "two")
    ]
    assert torch.allclose(weights[0].weight, weights[1].weight, atol=1e-4)
