"""How the share of the decoder's own words grows."""

import pytest

from vl.decoders.scheduled_sampling import word_sampler

DECAYS = ["linear", "exponential", "inverse sigmoid"]


@pytest.mark.parametrize("decay", DECAYS)
def test_it_grows_from_nothing_to_the_most(decay):
    share = word_sampler(decay, most=0.25, steps=1000)
    values = [share(step) for step in range(0, 1001, 50)]
    assert values == sorted(values)
    assert values[0] < 0.01 * 0.25 + 1e-3
    assert values[-1] == pytest.approx(0.25, rel=0.02)


def test_the_shapes_are_those_of_the_paper():
    linear, exponential, sigmoid = (word_sampler(decay, most=1.0, steps=1000) for decay in DECAYS)
    assert linear(250) == pytest.approx(0.25)
    assert 1 - exponential(500) == pytest.approx((1 - exponential(250)) ** 2)  # a constant factor
    assert sigmoid(500) == pytest.approx(0.5, abs=1e-6)
    assert sigmoid(400) + sigmoid(600) == pytest.approx(1.0, abs=0.01)  # even about the middle


def test_it_stays_at_the_most_for_ever():
    assert word_sampler("linear", most=0.5, steps=10)(10**9) == 0.5
    assert word_sampler("inverse sigmoid", most=0.5, steps=10)(10**9) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("decay", "most", "steps", "message"),
    [
        ("linear", 1.5, 10, "between 0 and 1, not at 1.5"),
        ("linear", 0.5, 0, "at least 1, not 0"),
        ("cubic", 0.5, 10, "decay is 'cubic'"),
    ],
)
def test_senseless_shares_are_refused(decay, most, steps, message):
    with pytest.raises(ValueError, match=message):
        word_sampler(decay, most=most, steps=steps)
