"""Checkpoints: what is resumed, refused and left of runs that were killed."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers.tiny_training import Line, UnevenBatches, log_of, run
from vl.data.errors import FormatError

ROOT = Path(__file__).resolve().parents[2]


def test_resumed_run_keeps_its_precision(tmp_path):
    class Autocast(Line):
        def forward(self, batch, step):
            precisions.append(torch.is_autocast_enabled("cpu"))
            return super().forward(batch, step)

    precisions = []
    with pytest.raises(ValueError, match="not finite"):
        run(tmp_path, Autocast(loss_at=5), bfloat16=True)
    run(tmp_path, Autocast(), resume=True)
    assert precisions == [True] * len(precisions)


def test_accumulating_run_resumes_within_an_epoch(tmp_path):
    options = {"gradient_accumulation": 3, "seconds": 0}
    with pytest.raises(ValueError, match="not finite at step 6"):
        run(tmp_path / "broken", Line(loss_at=5), UnevenBatches(), **options)
    progress = torch.load(tmp_path / "broken/state.pt", weights_only=True)["progress"]
    assert (progress["epoch"], progress["batch"], progress["step"]) == (1, 6, 5)
    broken, _ = run(tmp_path / "broken", None, UnevenBatches(), resume=True, **options)
    whole, _ = run(tmp_path / "whole", None, UnevenBatches(), **options)
    assert torch.equal(broken.w, whole.w)
    assert log_of(tmp_path / "broken") == log_of(tmp_path / "whole")


@pytest.mark.parametrize("cut", [0, 10, None])
def test_log_is_truncated_to_the_checkpoint(tmp_path, cut):
    """Interrupted, resumed and interrupted again before the next line; and a log somebody cut."""
    for at, saves in ((5, 0), (6, 1e9), (7, 0)):
        with pytest.raises(ValueError, match="not finite"):
            run(tmp_path, Line(loss_at=at), resume=at > 5, seconds=saves)
    if cut is not None:
        os.truncate(tmp_path / "log.jsonl", cut)
    run(tmp_path, resume=True)
    log = (tmp_path / "log.jsonl").read_bytes()
    assert b"\0" not in log
    if cut is None:
        run(tmp_path / "whole")
        assert log_of(tmp_path) == log_of(tmp_path / "whole")


def test_refuses_to_overwrite_a_run_or_to_resume_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        run(tmp_path, resume=True)
    run(tmp_path)
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(ValueError, match="already contains a run"):
        run(tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_refuses_to_resume_with_other_settings(tmp_path):
    run(tmp_path)
    with pytest.raises(FormatError, match=r"other settings: learning_rate was 0\.1, is 0\.2"):
        run(tmp_path, settings={"learning_rate": 0.2}, resume=True)


def test_refuses_the_checkpoint_of_another_version(tmp_path):
    run(tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    torch.save({**state, "format": 2}, tmp_path / "state.pt")
    with pytest.raises(FormatError, match=r"state\.pt: .*another version"):
        run(tmp_path, resume=True)


def test_resuming_a_finished_run_does_nothing(tmp_path):
    run(tmp_path)
    log = (tmp_path / "log.jsonl").read_bytes()
    _, result = run(tmp_path, resume=True)
    assert result.steps == 12
    assert (tmp_path / "log.jsonl").read_bytes() == log


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04\x95cos\nsystem\n."])
def test_refuses_damaged_checkpoints(tmp_path, content):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(FormatError, match="not a checkpoint that can be resumed"):
        run(tmp_path, resume=True)


def test_full_disk_leaves_the_old_checkpoint(tmp_path):
    """From the second epoch on files cannot grow beyond 4,500 bytes; a checkpoint is larger."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    epochs = []

    def limit(model, result):
        epochs.append(model)
        if len(epochs) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4500, limits[1]))

    try:
        with pytest.raises(OSError, match=r"state\.pt: could not be written"):
            run(tmp_path, on_best=limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    model, result = run(tmp_path, resume=True)
    whole, _ = run(tmp_path / "whole")
    assert result.steps == 12
    assert torch.equal(model.w, whole.w)


def test_partial_files_are_removed(tmp_path):
    run(tmp_path)
    half = tmp_path / ".state.pt.abc.part"
    half.write_bytes(b"half")
    run(tmp_path, resume=True)
    assert not half.exists()


@pytest.mark.slow
def test_killed_run_ends_as_an_uninterrupted_one(tmp_path):
    """Killed with SIGKILL in the first epoch, in the second, and right after a resume."""
    assert training(tmp_path / "whole").returncode == 0
    killed = tmp_path / "killed"
    assert training(killed, "--die-at", "5").returncode == -9
    # What a resumed process asks for counts from one again.
    assert training(killed, "--resume", "--die-at", "9").returncode == -9
    assert training(killed, "--resume", "--die-at", "2").returncode == -9
    assert training(killed, "--resume").returncode == 0
    assert_same_state(tmp_path / "whole", killed)
    best = [(folder / "best.safetensors").read_bytes() for folder in (tmp_path / "whole", killed)]
    assert best[0] == best[1]


@pytest.mark.slow
def test_two_processes_have_the_loss_of_one(tmp_path):
    assert training(tmp_path / "one", "--dropout", "0").returncode == 0
    assert training(tmp_path / "two", "--dropout", "0", processes=2).returncode == 0
    one, two = log_of(tmp_path / "one"), log_of(tmp_path / "two")
    assert len(one) == len(two) == 6
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        if "loss" in a:
            assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
        else:  # a sum over some 250 words
            assert a["development/loss"] == pytest.approx(b["development/loss"], rel=1e-4)


@pytest.mark.slow
def test_two_processes_resume_their_random_states(tmp_path):
    """Dropout and scheduled sampling draw from both processes' states."""
    assert training(tmp_path / "whole", processes=2).returncode == 0
    killed = tmp_path / "killed"
    assert training(killed, "--die-at", "8", processes=2).returncode != 0
    assert training(killed, "--resume", processes=2).returncode == 0
    state = assert_same_state(tmp_path / "whole", killed)
    assert not torch.equal(*state["random_states"])


def assert_same_state(*folders):
    assert log_of(folders[0]) == log_of(folders[1])
    one, other = (torch.load(folder / "state.pt", weights_only=True) for folder in folders)
    assert one["progress"] == other["progress"]
    for part in ("model", "ema"):
        assert one[part].keys() == other[part].keys()
        for key, value in one[part].items():
            assert torch.equal(value, other[part][key]), key
    return one


def training(folder, *flags, processes=1):
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    command += ["tests.processes.training_run", str(folder), *flags]
    return subprocess.run(command, cwd=ROOT, timeout=120, check=False)
