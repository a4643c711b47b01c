"""Learning rates against their formulas."""

import math

import pytest

from vl.training.schedules import schedule


@pytest.mark.parametrize("step", [0, 1, 7, 99, 1000])
def test_constant_is_one(step):
    assert schedule("constant", steps=100)(step) == 1


def test_a_staircase_halves_every_so_many_steps():
    """im2txt: 2.0, halved every 8 epochs."""
    rate = schedule("staircase", steps=100, every=8)
    assert [2.0 * rate(step) for step in (0, 7, 8, 15, 16, 31, 32)] == [
        2,
        2,
        1,
        1,
        0.5,
        0.25,
        0.125,
    ]
    inception = schedule("staircase", steps=100, every=8, factor=0.96)  # GoogLeNet's
    assert inception(80) == pytest.approx(0.96**10)


def test_cosine_goes_from_one_to_nothing():
    """Loshchilov and Hutter 2017, equation 5, one period, least rate 0."""
    rate = schedule("cosine", steps=10)
    for step in range(11):
        assert rate(step) == pytest.approx((1 + math.cos(math.pi * step / 10)) / 2)
    assert (rate(0), rate(5), rate(10)) == (1, pytest.approx(0.5), 0)
    assert rate(11) == rate(1000) == 0


@pytest.mark.parametrize("shape", ["constant", "staircase", "cosine"])
def test_a_warm_up_climbs_evenly_to_the_shape(shape):
    plain = schedule(shape, steps=50, every=4)
    warm = schedule(shape, steps=50, every=4, warm_up=5)
    for step in range(50):
        assert warm(step) == pytest.approx(plain(step) * min(1, (step + 1) / 5))
    assert warm(0) > 0  # else the first step would be lost


@pytest.mark.parametrize(
    "counts", [{"steps": 0}, {"steps": 5, "every": 0}, {"steps": 5, "warm_up": -1}]
)
def test_counts_that_make_no_schedule_are_refused(counts):
    with pytest.raises(ValueError, match="make no schedule"):
        schedule("constant", **counts)


def test_an_unknown_shape_is_refused():
    with pytest.raises(ValueError, match="schedule is 'linear'; it must be 'constant', 'stair"):
        schedule("linear", steps=5)
