"""Several processes that train one model: in step, loosely coupled, or with a part of it each."""

import pytest
import torch

from tests.processes.encoder_run import together
from tests.processes.replica_run import Net, Options, main
from vl.training.optimizers import optimizer
from vl.training.processes import Processes
from vl.training.replicas import Replicas, _parts

UNEVEN = (8, 6, 7, 12, 5)


def run(folder, size=1, **options):
    """What each process ended with."""
    folder.mkdir(parents=True, exist_ok=True)
    ended = together(main, folder, Options(**options), log=folder / "said", size=size)
    assert ended.codes == [0] * size, ended.said
    return [torch.load(folder / f"{rank}.pt") for rank in range(size)]


def killed(folder, size, **options):
    folder.mkdir(parents=True, exist_ok=True)
    ended = together(main, folder, Options(**options), log=folder / "said", size=size)
    assert ended.codes[-1] == -9
    assert 0 not in ended.codes


def state(folder):
    return torch.load(folder / "state.pt", weights_only=True)


def assert_close(one, other, tolerance):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.allclose(value.float(), other[key].float(), rtol=0, atol=tolerance), key


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]), key


@pytest.mark.parametrize("accumulate", [1, 3])
def test_two_in_step_are_one(tmp_path, accumulate):
    options = {"sizes": UNEVEN, "accumulate": accumulate}
    (one,) = run(tmp_path / "one", **options)
    two = run(tmp_path / "two", 2, **options)
    assert_same(two[0]["weights"], two[1]["weights"])
    assert_close(one["weights"], two[0]["weights"], 1e-5)
    assert one["judged"] == pytest.approx(two[0]["judged"], abs=1e-4)
    assert two[1]["judged"] == []
    assert one["steps"] == two[0]["steps"] == (10 if accumulate == 1 else 4)


def test_gradients_go_around_once_a_step(tmp_path):
    two = run(tmp_path, 2, accumulate=3)
    assert [each["reductions"] for each in two] == [4, 4]  # two steps in each of two epochs


def test_one_process_has_nobody_to_meet(tmp_path):
    (one,) = run(tmp_path / "one", period=2)
    (other,) = run(tmp_path / "other")
    assert_same(one["weights"], other["weights"])
    assert one["saved"] == other["saved"]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_mean_after_every_step_is_training_in_step(tmp_path, accumulate):
    """Of plain gradient descent on equal counts, where nothing is clipped."""
    options = {"momentum": 0.0, "clip": 1e9, "accumulate": accumulate}
    local = run(tmp_path / "local", 2, period=1, **options)
    (one,) = run(tmp_path / "one", **options)
    assert_close(one["weights"], local[0]["weights"], 1e-5)
    assert one["judged"] == pytest.approx(local[0]["judged"], abs=1e-4)


def test_each_goes_its_way_between_means(tmp_path):
    """Two steps by hand, of each, and then the mean."""
    local = run(tmp_path, 2, period=2, momentum=0.0, clip=1e9, epochs=1, sizes=(8, 6))
    ends = []
    for rank in range(2):
        (alone,) = run(
            tmp_path / str(rank), momentum=0.0, clip=1e9, epochs=1, sizes=(8, 6), share=(rank, 2)
        )
        ends.append(alone["weights"])
    mean = {key: (value + ends[1][key]) / 2 for key, value in ends[0].items()}
    assert_close(mean, local[0]["weights"], 1e-6)


@pytest.mark.parametrize("adam", [False, True])
def test_after_a_mean_all_replicas_are_one(tmp_path, adam):
    """Weights, momenta, and the statistics of batch normalisation."""
    two = run(tmp_path, 2, period=3, norm=True, adam=adam, apart=True)
    one, other = (each["meetings"] for each in two)
    assert set(one) == set(range(1, 11))
    assert any("exp_avg_sq" in key if adam else "momentum" in key for key in one[3])
    assert "norm.running_mean" in one[3]
    for step in (3, 5, 6, 9, 10):  # every third, and the last of an epoch
        assert_same(one[step], other[step])
    for step in (1, 2, 4, 7, 8):
        for key in ("first.weight", "norm.running_mean", "norm.running_var"):
            assert not torch.equal(one[step][key], other[step][key]), (step, key)


def test_loosely_coupled_replicas_begin_as_one(tmp_path):
    one = run(tmp_path / "one", 2, period=1, apart=True)
    other = run(tmp_path / "other", 2, period=1)
    assert_same(one[0]["weights"], other[0]["weights"])


def test_a_checkpoint_is_made_only_where_all_replicas_are_one(tmp_path):
    two = run(tmp_path, 2, period=3)
    assert two[0]["saved"] == two[1]["saved"] == [3, 5, 6, 9, 10]


def test_what_is_kept_of_a_running_mean_is_made_after_the_replicas_met(tmp_path):
    """With a decay of 0 it is the weights themselves."""
    two = run(tmp_path, 2, period=3, average=1e-9)
    kept = torch.load(tmp_path / "kept.pt")
    assert_close(kept, two[1]["weights"], 1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"period": 2, "norm": True, "die_at": 8},
        {"accumulate": 2, "average": 0.9, "norm": True, "die_at": 5},
        {"part_each": True, "die_at": 8},
        {"part_each": True, "adam": True, "norm": True, "die_at": 4},
    ],
)
def test_killed_and_resumed_they_end_as_undisturbed(tmp_path, options):
    options = {"sizes": UNEVEN, **options}
    die_at = options.pop("die_at")
    whole = run(tmp_path / "whole", 2, **options)
    killed(tmp_path / "killed", 2, die_at=die_at, **options)
    resumed = run(tmp_path / "killed", 2, resume=True, **options)
    one, other = state(tmp_path / "whole"), state(tmp_path / "killed")
    assert_same(one["model"], other["model"])
    assert one["place"] == other["place"]
    assert_same(torch.load(tmp_path / "whole/kept.pt"), torch.load(tmp_path / "killed/kept.pt"))
    assert resumed[0]["begun"] < whole[0]["begun"] == whole[0]["steps"]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("adam", [False, True])
def test_a_part_each_is_one(tmp_path, accumulate, adam):
    options = {"sizes": UNEVEN, "accumulate": accumulate, "adam": adam}
    (one,) = run(tmp_path / "one", **options)
    two = run(tmp_path / "two", 2, part_each=True, **options)
    whole = state(tmp_path / "two")
    assert_close(one["weights"], whole["model"], 1e-4)
    assert one["judged"] == pytest.approx(two[0]["judged"], abs=1e-3)
    assert two[1]["judged"] == []
    assert_same(whole["model"], torch.load(tmp_path / "two/kept.pt"))  # the last was the best


def test_parts_are_the_largest_that_are_called():
    net = Net(norm=True)
    wrapped = torch.nn.ModuleDict({"all": torch.nn.ModuleList([net])})
    assert list(_parts(net)) == [net.first, net.norm, net.second]
    assert list(_parts(wrapped)) == [net]


def test_a_spoilt_number_anywhere_is_seen():
    for spoil in ("first.weight", "norm.running_var"):
        net = Net(norm=True)
        made = Replicas(net, optimizer("sgd", [(net.parameters(), 0.1)]), Processes())
        assert made.finite()
        net.state_dict()[spoil].view(-1)[-1] = float("inf")
        assert not made.finite()
