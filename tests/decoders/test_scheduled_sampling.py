"""How the sampling probability grows."""

import pytest

from vl.decoders.scheduled_sampling import sampling_schedule

DECAYS = ["linear", "exponential", "inverse-sigmoid"]


@pytest.mark.parametrize("decay", DECAYS)
def test_grows_from_0_to_the_maximum_and_stays(decay):
    schedule = sampling_schedule(decay, max_probability=0.25, num_steps=1000)
    values = [schedule(step) for step in range(0, 1001, 50)]
    assert values == sorted(values)
    assert values[0] < 0.01 * 0.25 + 1e-3
    assert values[-1] == pytest.approx(0.25, rel=0.02)
    assert schedule(10**9) == pytest.approx(0.25)


def test_shapes_are_those_of_the_paper():
    linear, exponential, sigmoid = (
        sampling_schedule(decay, max_probability=1.0, num_steps=1000) for decay in DECAYS
    )
    assert linear(250) == pytest.approx(0.25)
    assert 1 - exponential(500) == pytest.approx((1 - exponential(250)) ** 2)  # a constant factor
    assert sigmoid(500) == pytest.approx(0.5, abs=1e-6)
    assert sigmoid(400) + sigmoid(600) == pytest.approx(1.0, abs=0.01)  # symmetric
