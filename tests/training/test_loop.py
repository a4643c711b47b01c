"""The training loop: steps, the moving average, validation, and what stops a run."""

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from tests.helpers.tiny_training import Batches, Line, UnevenBatches, log_of, run
from vl.training.selection import Validation


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


def test_training_lowers_the_loss(tmp_path):
    model, result = run(tmp_path)
    assert model.w.item() == pytest.approx(3, abs=0.5)
    assert (result.epochs, result.steps, result.best) == (3, 12, None)
    losses = [line["loss"] for line in log_of(tmp_path)]
    assert len(losses) == 3  # the last step of each epoch
    assert losses[-1] < 0.1 * losses[0]
    assert list((tmp_path / "tensorboard").iterdir())


def test_gradient_is_that_of_total_over_count(tmp_path):
    model, _ = run(tmp_path, epochs=1)
    by_hand = torch.zeros(1, requires_grad=True)
    for batch in Batches().epoch(0):
        (gradient,) = torch.autograd.grad(((by_hand - 3) * batch.x).square().mean(), by_hand)
        with torch.no_grad():
            by_hand -= 0.1 * (gradient * min(1, 5 / gradient.norm()))  # clip 5.0
    assert model.w.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_moving_average_is_saved(tmp_path):
    seen, saved = [], []
    model = Line()
    model.register_forward_hook(lambda module, options, out: seen.append(module.w.item()))
    run(
        tmp_path,
        model,
        epochs=1,
        ema_decay=0.5,
        on_best=lambda model, result: saved.append(model.w.item()),
    )
    mean = 0.0
    for step, value in enumerate([*seen[1:], model.w.item()]):
        decay = min(0.5, (1 + step) / (10 + step)) if step else 0.0
        mean = decay * mean + (1 - decay) * value
    assert saved == [pytest.approx(mean, rel=1e-5)]


def test_batch_norm_statistics_are_averaged_too(tmp_path):
    """Those of the last step would be of other weights; a count of batches is no mean."""
    model, saved, seen = Normed(), [], []
    step = torch.optim.SGD(model.parameters(), lr=0.1)
    step.register_step_post_hook(
        lambda *options: seen.append((model.norm.running_mean.item(), model.w.item()))
    )
    state = {"optimizer": step, "ema_decay": 0.5, "epochs": 1}
    run(tmp_path, model, on_best=lambda model, result: saved.append(model.state_dict()), **state)
    means = [0.0, 0.0]
    for number, values in enumerate(seen):
        decay = min(0.5, (1 + number) / (10 + number)) if number else 0.0
        means = [decay * a + (1 - decay) * b for a, b in zip(means, values, strict=True)]
    assert saved[0]["norm.running_mean"].item() == pytest.approx(means[0], rel=1e-5)
    assert saved[0]["w"].item() == pytest.approx(means[1], rel=1e-5)
    assert means[0] != pytest.approx(seen[-1][0], rel=1e-2)
    assert saved[0]["norm.num_batches_tracked"] == 4


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_gradient_accumulation_equals_large_batches(tmp_path, momentum):
    """Of other sizes each; the last step of an epoch has one batch where the others have three."""

    def trained(name, batches, **options):
        model = Line()
        sgd = torch.optim.SGD(model.parameters(), lr=0.02, momentum=momentum)
        _, result = run(tmp_path / name, model, batches, optimizer=sgd, **options)
        return model, result, log_of(tmp_path / name)

    small, result, log = trained("small", UnevenBatches(), gradient_accumulation=3)
    large, expected, expected_log = trained("large", UnevenBatches(concatenated=3))
    assert result.steps == expected.steps == 9
    assert small.w.item() == pytest.approx(large.w.item(), rel=1e-5)
    for line, other in zip(log, expected_log, strict=True):
        assert line == pytest.approx(other, rel=1e-5)


def test_empty_batches_change_nothing(tmp_path):
    class Empty(Line):
        def forward(self, batch, step):
            total, count = super().forward(batch, step)
            return total * 0, count * 0

    model, _ = run(tmp_path, Empty(), gradient_accumulation=2)
    assert model.w.item() == 0
    assert [line["loss"] for line in log_of(tmp_path)] == [0, 0, 0]


@pytest.mark.parametrize("seconds", [0, 1e9])
def test_infinite_weights_are_neither_validated_nor_saved(tmp_path, seconds):
    """After the first step; it ends the epoch, or is to be saved."""
    model, validations = Line(), []
    options = {
        "optimizer": torch.optim.SGD(model.parameters(), lr=1e38),
        "gradient_accumulation": 4,
    }
    if seconds == 0:
        options["gradient_accumulation"] = 2
    with pytest.raises(ValueError, match="the weights are not finite after step 1; try a lower"):
        run(tmp_path, model, validate=validations.append, seconds=seconds, **options)
    assert not validations
    assert not (tmp_path / "state.pt").exists()


def test_patience_stops_training(tmp_path):
    scores = iter([1.0, 3.0, 2.0, 2.5, 9.0])
    saved = []
    _, result = run(
        tmp_path,
        epochs=5,
        patience=2,
        validate=lambda model: Validation(next(scores), {"score": 0.0}),
        on_best=lambda model, result: saved.append(result.score),
    )
    assert saved == [1.0, 3.0]
    assert (result.epochs, result.best_epoch, result.best.score) == (4, 2, 3.0)


@pytest.mark.parametrize("callback", ["validate", "on_best"])
def test_callbacks_see_the_model_in_evaluation_mode(tmp_path, callback):
    modes, model = [], Line()

    def call(model, *result):
        modes.append(model.training)
        return Validation(1.0, {})

    run(tmp_path, model, **{callback: call})
    assert modes == [False] * 3
    assert model.training


def test_infinite_loss_stops_before_saving(tmp_path):
    with pytest.raises(ValueError, match="the gradient is not finite at step 6; try a lower"):
        run(tmp_path, Line(loss_at=5), seconds=0)
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    assert saved["progress"]["step"] == 5
    assert saved["model"]["w"].isfinite().all()


def test_development_metrics_have_separate_names(tmp_path):
    run(tmp_path, validate=lambda model: Validation(1.0, {"loss": 0.5, "step": 7.0}))
    training, validations = (
        [x for x in log_of(tmp_path) if ("validation_epoch" in x) == y] for y in (False, True)
    )
    assert len(validations) == 3
    assert validations[0]["development/loss"] == 0.5
    assert set(training[0]) & set(validations[0]) == {"step"}


def test_tensorboard_keeps_validations_over_a_resume(tmp_path):
    def validate(model):
        return Validation(model.w.item(), {"w": model.w.item()})

    with pytest.raises(ValueError, match="not finite"):
        run(tmp_path, Line(loss_at=5), validate=validate)
    run(tmp_path, resume=True, validate=validate)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("development/w")] == [4, 8, 12]
