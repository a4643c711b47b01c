"""The rule by which a validation selects the best epoch and stops a training."""

import math

import pytest

from tests.helpers.tiny_training import Line, log_of, run
from vl.training.selection import Selection, Validation, is_better, warn_of_few

NAN = math.nan


def noise(score, loss):
    """A score that says nothing."""
    return Validation(score, {}, loss, score_counts=False)


def scored(score, loss=None):
    return Validation(score, {}, loss)


@pytest.mark.parametrize(
    ("new", "best", "better"),
    [
        (scored(0.2, 5.0), scored(0.1, 1.0), True),
        (scored(0.1, 1.0), scored(0.2, 5.0), False),
        (scored(0.2, 4.0), scored(0.2, 5.0), True),
        (scored(0.2, 5.0), scored(0.2, 4.0), False),
        (scored(0.2, 5.0), scored(0.2, 5.0), False),  # the earlier one is kept
        (scored(0.2), scored(0.2), False),
        (scored(0.2, 4.0), scored(0.2), True),
        (scored(0.0, 4.0), scored(0.0, 5.0), True),
        (scored(50.00001, 5.0), scored(50.0, 4.0), False),  # rounding noise
        (scored(50.0, 4.0), scored(50.00001, 5.0), True),
        (scored(1.7e-8, 6.1), scored(1e-15, 4.5), False),
        (scored(0.2, 5.0), scored(0.2, 5.000001), False),
        (noise(1.7e-8, 6.1), noise(1e-15, 4.5), False),
        (noise(1e-15, 4.5), noise(1.7e-8, 6.1), True),
        (noise(1e-5, 4.5), scored(1e-6, 6.1), False),
        (scored(1e-6, 6.1), noise(1e-5, 4.5), True),
        (scored(-5.0, 5.0), scored(-6.0, 6.0), True),  # selected by the loss
        (scored(NAN, 4.0), scored(0.1, 5.0), False),
        (scored(0.1, 5.0), scored(NAN, 4.0), True),
        (noise(0.0, NAN), noise(0.0, 5.0), False),
        (noise(0.0, 5.0), noise(0.0, NAN), True),
    ],
)
def test_is_better(new, best, better):
    assert is_better(new, best) == better


@pytest.mark.parametrize(
    ("validations", "best", "stale"),
    [
        ([scored(1.0), scored(3.0), scored(2.0), scored(2.5)], 2, 2),
        ([scored(1.0, 4.0), scored(1.0, 3.0), scored(1.0, 3.5)], 2, 1),
        ([noise(9e-9, 6.0), noise(2e-10, 5.0), noise(5e-9, 5.5), noise(1e-9, 5.2)], 2, 0),
        ([noise(9e-9, 6.0), scored(0.1, 5.0), scored(0.05, 4.0), noise(1e-9, 3.0)], 2, 0),
        ([noise(0.0, 6.0), scored(0.1, 5.0), scored(0.05, 4.0), scored(0.05, 3.0)], 2, 2),
        ([scored(NAN, NAN), noise(0.0, 5.0), noise(0.0, 6.0)], 2, 0),
    ],
)
def test_selection_of_an_epoch(validations, best, stale):
    selection, epochs = Selection(), []
    for epoch, validation in enumerate(validations, 1):
        if selection.update(epoch, validation):
            epochs.append(epoch)
    assert (selection.epoch, selection.stale_epochs) == (best, stale)
    assert epochs[-1] == best
    assert selection.best == validations[best - 1]


# BLEU-4 without a match, as it was measured on 100 photographs, while the loss falls.
ZEROS = [(8.6e-15, 6.3), (1.7e-8, 6.1), (2.4e-15, 4.8), (3e-14, 4.45), (4.3e-14, 4.5)]


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_training_without_a_score_keeps_the_lowest_loss(tmp_path, interrupted):
    """It goes on for longer than its patience; the checkpoint remembers the choice."""
    saved = []

    def validate(model):
        score, loss = ZEROS[len(list(validations(tmp_path)))]
        return Validation(score, {"bleu-4": score}, loss, score_counts=False)

    options = {
        "epochs": 5,
        "patience": 1,
        "validate": validate,
        "on_best": lambda model, result: saved.append(result.loss),
        "seconds": 0,
    }
    if interrupted:
        with pytest.raises(ValueError, match="not finite"):
            run(tmp_path, Line(loss_at=17), **options)
    _, result = run(tmp_path, resume=interrupted, **options)
    assert (result.epochs, result.best_epoch, result.best.loss) == (5, 4, 4.45)
    assert saved == [6.3, 6.1, 4.8, 4.45]
    assert [line["development/loss"] for line in validations(tmp_path)] == [
        loss for _, loss in ZEROS
    ]


def validations(folder):
    path = folder / "log.jsonl"
    lines = log_of(folder) if path.exists() else []
    return [line for line in lines if "validation_epoch" in line]


@pytest.mark.parametrize(("count", "warned"), [(1, True), (19, True), (20, False)])
def test_small_development_splits_are_warned_of(caplog, count, warned):
    warn_of_few(count, "images")
    assert len(caplog.records) == warned
