"""The training loop: killed and resumed, divided among processes, stopped early, refused."""

import dataclasses
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from vl.data.errors import FormatError
from vl.training import checkpoint
from vl.training.loop import (
    CheckpointConfig,
    StepConfig,
    Validation,
    ValidationConfig,
    train,
)
from vl.training.optimizers import schedule

ROOT = Path(__file__).resolve().parents[2]


class Numbers(NamedTuple):
    """A batch of numbers."""

    x: Tensor

    def to(self, device):
        return self


class Line(nn.Module):
    """Fits 3 x by w x; the loss is a sum and a count."""

    unit = "numbers"

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


class Uneven:
    """Seven batches an epoch of other sizes each; or so many of them as one."""

    sizes = (3, 5, 2, 8, 1, 4, 6)

    def __init__(self, together=1):
        self.together = together

    def __len__(self):
        return -(-len(self.sizes) // self.together)

    def epoch(self, number, *, first=0):
        generator = torch.Generator().manual_seed(number)
        each = torch.randn(sum(self.sizes), generator=generator).split(self.sizes)
        for index in range(first, len(self)):
            yield Numbers(torch.cat(each[index * self.together : (index + 1) * self.together]))


class Normed(nn.Module):
    """Batch normalization, and a mean that wanders."""

    unit = "numbers"

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.norm = nn.BatchNorm1d(1)

    def forward(self, batch, step):
        x = self.norm(batch.x[:, None] * (1 + step) + self.w)
        return (x - 1 + self.w).square().sum(), torch.tensor(len(batch.x))


def run(folder, model=None, batches=None, *, epochs=3, optimizer=None, **options):
    """A training; ``options`` are fields of the three configurations."""
    model = model or Line()
    checkpoints = {"settings": {"learning_rate": 0.1}, **pick(options, CheckpointConfig)}
    result = train(
        model,
        batches or Batches(),
        optimizer=optimizer or torch.optim.SGD(model.parameters(), lr=0.1),
        schedule=schedule("constant", steps=1),
        epochs=epochs,
        checkpoints=CheckpointConfig(folder, **checkpoints),
        steps=StepConfig(**pick(options, StepConfig)),
        validation=ValidationConfig(**pick(options, ValidationConfig)),
    )
    return model, result


def pick(options, config):
    """The options that are fields of a configuration."""
    names = {field.name for field in dataclasses.fields(config)}
    return {name: value for name, value in options.items() if name in names}


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
    run(tmp_path, model, epochs=1, ema_decay=0.5, on_best=lambda m, j: kept.append(m.w.item()))
    mean = 0.0
    for step, value in enumerate([*seen[1:], model.w.item()]):
        decay = min(0.5, (1 + step) / (10 + step)) if step else 0.0
        mean = decay * mean + (1 - decay) * value
    assert kept == [pytest.approx(mean, rel=1e-5)]


def test_statistics_are_averaged_as_the_weights_are(tmp_path):
    """Those of the last step would be of other weights; a count of batches is no mean."""
    model, kept, seen = Normed(), [], []
    step = torch.optim.SGD(model.parameters(), lr=0.1)
    step.register_step_post_hook(
        lambda *given: seen.append((model.norm.running_mean.item(), model.w.item()))
    )
    state = {"optimizer": step, "ema_decay": 0.5, "epochs": 1}
    run(tmp_path, model, on_best=lambda m, j: kept.append(m.state_dict()), **state)
    means = [0.0, 0.0]
    for number, values in enumerate(seen):
        decay = min(0.5, (1 + number) / (10 + number)) if number else 0.0
        means = [decay * a + (1 - decay) * b for a, b in zip(means, values, strict=True)]
    assert kept[0]["norm.running_mean"].item() == pytest.approx(means[0], rel=1e-5)
    assert kept[0]["w"].item() == pytest.approx(means[1], rel=1e-5)
    assert means[0] != pytest.approx(seen[-1][0], rel=1e-2)
    assert kept[0]["norm.num_batches_tracked"] == 4


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_several_batches_in_a_step_are_as_one(tmp_path, momentum):
    """Of other sizes each; the last step of an epoch has one batch where the others have three."""

    def trained(name, batches, **choices):
        model = Line()
        given = torch.optim.SGD(model.parameters(), lr=0.02, momentum=momentum)
        _, fitted = run(tmp_path / name, model, batches, optimizer=given, **choices)
        return model, fitted, log_of(tmp_path / name)

    small, fitted, log = trained("small", Uneven(), gradient_accumulation=3)
    large, expected, expected_log = trained("large", Uneven(together=3))
    assert fitted.steps == expected.steps == 9
    assert small.w.item() == pytest.approx(large.w.item(), rel=1e-5)
    for line, other in zip(log, expected_log, strict=True):
        assert line == pytest.approx(other, rel=1e-5)


def test_a_run_of_several_batches_a_step_is_resumed_within_an_epoch(tmp_path):
    choices = {"gradient_accumulation": 3, "seconds": 0}
    with pytest.raises(ValueError, match="not finite at step 6"):
        run(tmp_path / "broken", Line(loss_at=5), Uneven(), **choices)
    place = torch.load(tmp_path / "broken/state.pt", weights_only=True)["progress"]
    assert (place["epoch"], place["batch"], place["step"]) == (1, 6, 5)
    broken, _ = run(tmp_path / "broken", None, Uneven(), resume=True, **choices)
    whole, _ = run(tmp_path / "whole", None, Uneven(), **choices)
    assert torch.equal(broken.w, whole.w)
    assert log_of(tmp_path / "broken") == log_of(tmp_path / "whole")


def test_batches_that_count_nothing_change_nothing(tmp_path):
    class Nothing(Line):
        def forward(self, batch, step):
            total, count = super().forward(batch, step)
            return total * 0, count * 0

    model, _ = run(tmp_path, Nothing(), gradient_accumulation=2)
    assert model.w.item() == 0
    assert [line["loss"] for line in log_of(tmp_path)] == [0, 0, 0]


@pytest.mark.parametrize("seconds", [0, 1e9])
def test_weights_beyond_all_numbers_are_neither_judged_nor_saved(tmp_path, seconds):
    """After the first step; it ends the epoch, or is to be saved."""
    model, judged = Line(), []
    given = {"optimizer": torch.optim.SGD(model.parameters(), lr=1e38), "gradient_accumulation": 4}
    if seconds == 0:
        given["gradient_accumulation"] = 2
    with pytest.raises(ValueError, match="the weights are not finite after step 1; try a lower"):
        run(tmp_path, model, validate=judged.append, seconds=seconds, **given)
    assert not judged
    assert not (tmp_path / "state.pt").exists()


def test_training_stops_when_nothing_gets_better(tmp_path):
    scores = iter([1.0, 3.0, 2.0, 2.5, 9.0])
    kept = []
    _, fitted = run(
        tmp_path,
        epochs=5,
        patience=2,
        validate=lambda model: Validation(next(scores), {"score": 0.0}),
        on_best=lambda model, judgement: kept.append(judgement.score),
    )
    assert kept == [1.0, 3.0]
    assert (fitted.epochs, fitted.best_epoch, fitted.best.score) == (4, 2, 3.0)


def test_judges_see_the_model_at_rest_and_training_goes_on_after(tmp_path):
    states = []
    model = Line()
    run(tmp_path, model, validate=lambda m: Validation(float(states.append(m.training) or 0), {}))
    assert states == [False] * 3
    assert model.training


def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(tmp_path):
    with pytest.raises(ValueError, match="the gradient is not finite at step 6; try a lower"):
        run(tmp_path, Line(loss_at=5), seconds=0)
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    assert saved["progress"]["step"] == 5
    assert saved["model"]["w"].isfinite().all()


def test_what_is_kept_without_a_judge_is_at_rest_and_training_goes_on_after(tmp_path):
    states = []
    model = Line()
    run(tmp_path, model, on_best=lambda m, j: states.append(m.training))
    assert states == [False] * 3
    assert model.training


def test_a_resumed_run_goes_on_in_the_precision_it_began_with(tmp_path):
    class Seen(Line):
        def forward(self, batch, step):
            precisions.append(torch.is_autocast_enabled("cpu"))
            return super().forward(batch, step)

    precisions = []
    with pytest.raises(ValueError, match="not finite"):
        run(tmp_path, Seen(loss_at=5), bfloat16=True)
    run(tmp_path, Seen(), resume=True)
    assert precisions == [True] * len(precisions)


def test_development_figures_have_names_of_their_own(tmp_path):
    run(tmp_path, validate=lambda model: Validation(1.0, {"loss": 0.5, "step": 7.0}))
    training, judged = (
        [x for x in log_of(tmp_path) if ("validation_epoch" in x) == y] for y in (False, True)
    )
    assert len(judged) == 3
    assert judged[0]["development/loss"] == 0.5
    assert set(training[0]) & set(judged[0]) == {"step"}


def test_tensorboard_keeps_what_was_judged_before_a_resume(tmp_path):
    def judge(model):
        return Validation(model.w.item(), {"w": model.w.item()})

    with pytest.raises(ValueError, match="not finite"):
        run(tmp_path, Line(loss_at=5), validate=judge)
    run(tmp_path, resume=True, validate=judge)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("development/w")] == [4, 8, 12]


@pytest.mark.parametrize("cut", [0, 10, None])
def test_a_log_is_cut_back_to_the_checkpoint_and_never_padded(tmp_path, cut):
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


def test_a_folder_with_a_run_is_not_written_over(tmp_path):
    run(tmp_path)
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(ValueError, match="already contains a run"):
        run(tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_a_resume_under_other_settings_names_them(tmp_path):
    run(tmp_path)
    with pytest.raises(FormatError, match=r"other settings: learning_rate was 0\.1, is 0\.2"):
        run(tmp_path, settings={"learning_rate": 0.2}, resume=True)


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


def test_a_full_disk_is_said_in_a_sentence_and_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    """The second epoch's checkpoint goes to a device that is always full."""
    saves = []

    @contextmanager
    def full(path):
        saves.append(path)
        if len(saves) == 2:
            yield Path("/dev/full")  # written to, as a path that is not renamed
        else:
            with atomic_write(path) as beside:
                yield beside

    atomic_write = checkpoint.atomic_write
    monkeypatch.setattr(checkpoint, "atomic_write", full)
    with pytest.raises(OSError, match=r"state\.pt: could not be written"):
        run(tmp_path)
    monkeypatch.undo()
    model, fitted = run(tmp_path, resume=True)
    whole, _ = run(tmp_path / "whole")
    assert fitted.steps == 12
    assert torch.equal(model.w, whole.w)


def test_halves_of_a_killed_save_are_cleared_away(tmp_path):
    run(tmp_path)
    half = tmp_path / ".state.pt.abc.part"
    half.write_bytes(b"half")
    run(tmp_path, resume=True)
    assert not half.exists()


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_one_that_was_not(tmp_path):
    """Killed with SIGKILL in the first epoch, in the second, and right after a resume."""
    assert training(tmp_path / "whole").returncode == 0
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
    for part in ("model", "ema"):
        assert one[part].keys() == other[part].keys()
        for key, value in one[part].items():
            assert torch.equal(value, other[part][key]), key
    assert one["progress"] == other["progress"]
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
        assert a.keys() == b.keys()
        if "loss" in a:
            assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
        else:  # a sum over some 250 words
            assert a["development/loss"] == pytest.approx(b["development/loss"], rel=1e-4)


@pytest.mark.slow
def test_two_killed_processes_resume_each_with_its_own_random_state(tmp_path):
    """Dropout and scheduled sampling draw from both processes' states."""
    assert training(tmp_path / "whole", processes=2).returncode == 0
    killed = tmp_path / "killed"
    assert training(killed, "--die-at", "8", processes=2).returncode != 0
    assert training(killed, "--resume", processes=2).returncode == 0
    one, other = (
        torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "killed")
    )
    assert not torch.equal(*one["random_states"])
    for part in ("model", "ema"):
        for key, value in one[part].items():
            assert torch.equal(value, other[part][key]), key
    assert log_of(tmp_path / "whole") == log_of(killed)


def training(folder, *flags, processes=1):
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    command += ["tests.processes.training_run", str(folder), *flags]
    return subprocess.run(command, cwd=ROOT, timeout=120, check=False)
