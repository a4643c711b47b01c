"""The training loop: killed and resumed, divided among processes, stopped early, refused."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from data.errors import FormatError
from vl.schedules import schedule
from vl.training import Judgement, fit

ROOT = Path(__file__).resolve().parents[1]


class Numbers(NamedTuple):
    """A batch of numbers."""

    x: Tensor

    def to(self, device):
        return self


class Line(nn.Module):
    """Fits 3 x by w x; the loss is a sum and a count."""

    def __init__(self, loss_at=None):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.loss_at = loss_at

    def forward(self, batch, step):
        total = ((self.w - 3) * batch.x).square().sum()
        if step == self.loss_at:
            total = total * float("nan")
        return total, torch.tensor(len(batch.x))


class Batches:
    """Four batches an epoch."""

    def __len__(self):
        return 4

    def epoch(self, number, *, first=0):
        generator = torch.Generator().manual_seed(number)
        numbers = torch.randn(4, 8, generator=generator)
        return (Numbers(numbers[index]) for index in range(first, 4))


def run(folder, model=None, **changes):
    model = model or Line()
    choices = {
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "schedule": schedule("constant", steps=1),
        "epochs": 3,
        "folder": folder,
        "settings": {"rate": 0.1},
    }
    return model, fit(model, Batches(), **{**choices, **changes})


def log_of(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_a_line_is_fitted(tmp_path):
    model, fitted = run(tmp_path)
    assert model.w.item() == pytest.approx(3, abs=0.5)
    assert (fitted.epochs, fitted.steps, fitted.best) == (3, 12, None)
    losses = [line["loss"] for line in log_of(tmp_path)]
    assert len(losses) == 3  # the last step of each epoch
    assert losses[-1] < 0.1 * losses[0]
    assert list((tmp_path / "tensorboard").iterdir())


def test_the_gradient_is_that_of_total_over_count(tmp_path):
    model, _ = run(tmp_path, epochs=1)
    by_hand = torch.zeros(1, requires_grad=True)
    for batch in Batches().epoch(0):
        (gradient,) = torch.autograd.grad(((by_hand - 3) * batch.x).square().mean(), by_hand)
        with torch.no_grad():
            by_hand -= 0.1 * (gradient * min(1, 5 / gradient.norm()))  # clip 5.0
    assert model.w.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_what_is_kept_is_the_running_mean(tmp_path):
    seen, kept = [], []
    model = Line()
    model.register_forward_hook(lambda module, given, out: seen.append(module.w.item()))
    run(tmp_path, model, epochs=1, average=0.5, keep=lambda m, j: kept.append(m.w.item()))
    mean = 0.0
    for step, value in enumerate([*seen[1:], model.w.item()]):
        decay = min(0.5, (1 + step) / (10 + step)) if step else 0.0
        mean = decay * mean + (1 - decay) * value
    assert kept == [pytest.approx(mean, rel=1e-5)]


def test_training_stops_when_nothing_gets_better(tmp_path):
    scores = iter([1.0, 3.0, 2.0, 2.5, 9.0])
    kept = []
    _, fitted = run(
        tmp_path,
        epochs=5,
        patience=2,
        judge=lambda model: Judgement(next(scores), {"score": 0.0}),
        keep=lambda model, judgement: kept.append(judgement.score),
    )
    assert kept == [1.0, 3.0]
    assert (fitted.epochs, fitted.best_epoch, fitted.best.score) == (4, 2, 3.0)


def test_judges_see_the_model_at_rest_and_training_goes_on_after(tmp_path):
    states = []
    model = Line()
    run(tmp_path, model, judge=lambda m: Judgement(float(states.append(m.training) or 0), {}))
    assert states == [False] * 3
    assert model.training


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(ValueError, match="the loss is nan at step 4"):
        run(tmp_path, Line(loss_at=3))


def test_a_folder_with_a_run_is_not_written_over(tmp_path):
    run(tmp_path)
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(ValueError, match="holds a run already; resume it"):
        run(tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_a_resume_under_other_settings_names_them(tmp_path):
    run(tmp_path)
    with pytest.raises(FormatError, match=r"other settings: rate was 0\.1, is 0\.2"):
        run(tmp_path, settings={"rate": 0.2}, resume=True)


def test_a_finished_run_resumed_does_nothing(tmp_path):
    run(tmp_path)
    log = (tmp_path / "log.jsonl").read_bytes()
    _, fitted = run(tmp_path, resume=True)
    assert fitted.steps == 12
    assert (tmp_path / "log.jsonl").read_bytes() == log


def test_there_must_be_something_to_resume(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        run(tmp_path, resume=True)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04\x95cos\nsystem\n."])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(FormatError, match="not a checkpoint that can be resumed"):
        run(tmp_path, resume=True)


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    """A disk that is full while the second epoch's checkpoint is written."""
    saves = []

    def full(state, path):
        saves.append(path)
        if len(saves) == 2:
            path.write_bytes(b"half of it")
            raise OSError(28, "No space left on device", str(path))
        torch_save(state, path)

    torch_save = torch.save
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path)
    monkeypatch.undo()
    assert not list(tmp_path.glob("*.part"))
    model, fitted = run(tmp_path, resume=True)
    whole, _ = run(tmp_path / "whole")
    assert fitted.steps == 12
    assert torch.equal(model.w, whole.w)


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_one_that_was_not(tmp_path):
    """Killed with SIGKILL in the first epoch, in the second, and right after a resume."""
    training(tmp_path / "whole")
    killed = tmp_path / "killed"
    assert training(killed, "--die-at", "5").returncode == -9
    # What a resumed process asks for counts from one again.
    assert training(killed, "--resume", "--die-at", "9").returncode == -9
    assert training(killed, "--resume", "--die-at", "2").returncode == -9
    assert training(killed, "--resume").returncode == 0
    for name in ("state.pt", "best.safetensors"):
        assert (tmp_path / "whole" / name).exists()
    one, other = (
        torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "killed")
    )
    for part in ("model", "averaged"):
        assert one[part].keys() == other[part].keys()
        for key, value in one[part].items():
            assert torch.equal(value, other[part][key]), key
    assert one["place"] == other["place"]
    assert (tmp_path / "whole" / "best.safetensors").read_bytes() == (
        killed / "best.safetensors"
    ).read_bytes()
    assert log_of(tmp_path / "whole") == log_of(killed)


@pytest.mark.slow
def test_two_processes_have_the_loss_of_one(tmp_path):
    assert training(tmp_path / "one", "--dropout", "0").returncode == 0
    assert training(tmp_path / "two", "--dropout", "0", processes=2).returncode == 0
    one, two = log_of(tmp_path / "one"), log_of(tmp_path / "two")
    assert len(one) == len(two) == 6
    for a, b in zip(one, two, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)


def training(folder, *flags, processes=1):
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    command += ["tests.training_run", str(folder), *flags]
    return subprocess.run(command, cwd=ROOT, timeout=120, check=False)
