"""Training in several processes: data parallel, local SGD, and fully sharded."""

import pytest
import torch

from tests.processes.encoder_run import together
from tests.processes.replica_run import Net, Options, main
from vl.training.optimizers import optimizer
from vl.training.parallel import Processes, Replicas, shard_layers

UNEVEN = (8, 6, 7, 12, 5)


def run(folder, size=1, **options):
    """What each process recorded."""
    folder.mkdir(parents=True, exist_ok=True)
    ended = together(main, folder, Options(**options), log=folder / "log", size=size)
    assert ended.codes == [0] * size, ended.output
    return [torch.load(folder / f"{rank}.pt") for rank in range(size)]


def kill(folder, size, **options):
    folder.mkdir(parents=True, exist_ok=True)
    ended = together(main, folder, Options(**options), log=folder / "log", size=size)
    assert ended.codes[-1] == -9
    assert 0 not in ended.codes


def checkpoint(folder):
    return torch.load(folder / "state.pt", weights_only=True)


def assert_close(first, second, tolerance):
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.allclose(value.float(), second[key].float(), rtol=0, atol=tolerance), key


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


@pytest.mark.parametrize("accumulation", [1, 3])
def test_two_processes_train_as_one(tmp_path, accumulation):
    options = {"sizes": UNEVEN, "gradient_accumulation": accumulation}
    (one,) = run(tmp_path / "one", **options)
    two = run(tmp_path / "two", 2, **options)
    assert_equal(two[0]["weights"], two[1]["weights"])
    assert_close(one["weights"], two[0]["weights"], 1e-5)
    assert one["scores"] == pytest.approx(two[0]["scores"], abs=1e-4)
    assert two[1]["scores"] == []
    assert one["steps"] == two[0]["steps"] == (10 if accumulation == 1 else 4)


def test_gradients_are_reduced_once_per_step(tmp_path):
    first, second = run(tmp_path, 2, gradient_accumulation=3)
    pairs = list(zip(first["partial_gradients"], second["partial_gradients"], strict=True))
    assert len(pairs) == 6  # in each of two epochs a step of three batches and one of two
    assert not any(torch.equal(*pair) for pair in pairs)
    pairs = list(zip(first["gradients"], second["gradients"], strict=True))
    assert len(pairs) == 4
    assert all(torch.equal(*pair) for pair in pairs)


def test_one_process_ignores_local_steps(tmp_path):
    (local,) = run(tmp_path / "local", local_steps=2)
    (plain,) = run(tmp_path / "plain")
    assert_equal(local["weights"], plain["weights"])
    assert local["saved"] == plain["saved"]


@pytest.mark.parametrize("accumulation", [1, 2])
def test_averaging_after_every_step_is_data_parallel(tmp_path, accumulation):
    """For SGD without momentum on equal counts, where nothing is clipped."""
    options = {"momentum": 0.0, "grad_clip": 1e9, "gradient_accumulation": accumulation}
    local = run(tmp_path / "local", 2, local_steps=1, **options)
    (one,) = run(tmp_path / "one", **options)
    assert_close(one["weights"], local[0]["weights"], 1e-5)
    assert one["scores"] == pytest.approx(local[0]["scores"], abs=1e-4)


def test_local_steps_are_those_of_separate_trainings(tmp_path):
    """Two steps of each process, then the mean."""
    options = {"momentum": 0.0, "grad_clip": 1e9, "epochs": 1, "sizes": (8, 6)}
    local = run(tmp_path, 2, local_steps=2, **options)
    first, second = (
        run(tmp_path / str(rank), share=(rank, 2), **options)[0]["weights"] for rank in range(2)
    )
    mean = {key: (value + second[key]) / 2 for key, value in first.items()}
    assert_close(mean, local[0]["weights"], 1e-6)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_replicas_are_equal_after_averaging(tmp_path, name):
    """Weights, moments, and the statistics of batch normalization."""
    options = {"batch_norm": True, "optimizer": name, "different_weights": True}
    first, second = (each["states"] for each in run(tmp_path, 2, local_steps=3, **options))
    assert set(first) == set(range(1, 11))
    assert any("exp_avg_sq" in key or "momentum" in key for key in first[3])
    assert "norm.running_mean" in first[3]
    for step in (3, 5, 6, 9, 10):  # every third, and the last of an epoch
        assert_equal(first[step], second[step])
    for step in (1, 2, 4, 7, 8):
        for key in ("first.weight", "norm.running_mean", "norm.running_var"):
            assert not torch.equal(first[step][key], second[step][key]), (step, key)


def test_replicas_start_with_the_weights_of_the_first(tmp_path):
    different = run(tmp_path / "different", 2, local_steps=1, different_weights=True)
    same = run(tmp_path / "same", 2, local_steps=1)
    assert_equal(different[0]["weights"], same[0]["weights"])


def test_checkpoints_are_saved_only_when_replicas_are_equal(tmp_path):
    two = run(tmp_path, 2, local_steps=3)
    assert two[0]["saved"] == [3, 5, 6, 9, 10]


def test_moving_average_is_updated_after_the_replicas_are_averaged(tmp_path):
    """With a decay of almost 0 it is the weights themselves."""
    two = run(tmp_path, 2, local_steps=3, ema_decay=1e-9)
    assert_close(torch.load(tmp_path / "best.pt"), two[1]["weights"], 1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"local_steps": 2, "batch_norm": True, "die_at": 8},
        {"gradient_accumulation": 2, "ema_decay": 0.9, "batch_norm": True, "die_at": 5},
        {"fsdp": True, "die_at": 8},
        {"fsdp": True, "optimizer": "adam", "batch_norm": True, "die_at": 4},
    ],
    ids=["local", "data-parallel", "fsdp-sgd", "fsdp-adam"],
)
def test_killed_and_resumed_training_ends_as_an_uninterrupted_one(tmp_path, options):
    options = {"sizes": UNEVEN, **options}
    die_at = options.pop("die_at")
    whole = run(tmp_path / "whole", 2, **options)
    kill(tmp_path / "killed", 2, die_at=die_at, **options)
    resumed = run(tmp_path / "killed", 2, resume=True, **options)
    expected, state = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "killed")
    assert_equal(expected["model"], state["model"])
    assert expected["progress"] == state["progress"]
    assert_equal(torch.load(tmp_path / "whole/best.pt"), torch.load(tmp_path / "killed/best.pt"))
    assert resumed[0]["own_steps"] < whole[0]["own_steps"] == whole[0]["steps"]


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_fsdp_trains_as_one_process(tmp_path, accumulation, name):
    options = {"sizes": UNEVEN, "gradient_accumulation": accumulation, "optimizer": name}
    (one,) = run(tmp_path / "one", **options)
    two = run(tmp_path / "two", 2, fsdp=True, **options)
    full = checkpoint(tmp_path / "two")["model"]
    assert_close(one["weights"], full, 1e-4)
    assert one["scores"] == pytest.approx(two[0]["scores"], abs=1e-3)
    assert two[1]["scores"] == []
    assert_equal(full, torch.load(tmp_path / "two/best.pt"))  # the last epoch was the best


def test_layers_to_shard_are_the_largest_that_are_called():
    net = Net(batch_norm=True)
    containers = torch.nn.ModuleDict({"all": torch.nn.ModuleList([net])})
    assert list(shard_layers(net)) == [net.first, net.norm, net.second]
    assert list(shard_layers(containers)) == [net]


@pytest.mark.parametrize("name", ["first.weight", "norm.running_var"])
def test_infinite_weights_and_buffers_are_detected(name):
    net = Net(batch_norm=True)
    replicas = Replicas(net, optimizer("sgd", [(net.parameters(), 0.1)]), Processes())
    assert replicas.is_finite()
    net.state_dict()[name].view(-1)[-1] = float("inf")
    assert not replicas.is_finite()
