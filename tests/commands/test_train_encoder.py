"""`vl train encoder`: results, resuming after kills, several processes, invalid arguments."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open

from tests.helpers import colored_images
from tests.helpers.tiny_captioner import Tiny
from tests.processes.encoder_run import counted, killed, together
from tests.processes.encoder_run import encoder as train_encoder
from vl import bundle
from vl.__main__ import main
from vl.encoders.table import ENCODERS, create_encoder
from vl.encoding import encoder_file
from vl.encoding.config import EncoderTrainingConfig
from vl.training import checkpoint
from vl.training.loop import train as train_task

ROOT = Path(__file__).resolve().parents[2]
COLORS = ("black", "blue", "green", "white")  # of different grays, which LeNet-5 sees
PLAIN = ["--color-jitter", 0, "--min-crop-area", 0.9]
LENET = ["--encoder", "lenet5", "--batch-size", 8, "--checkpoint-seconds", 0, *PLAIN]
QUICK = [*LENET, "--learning-rate", 0.02]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Ten of each color."""
    return colored_images.folders(tmp_path_factory.mktemp("photos"), COLORS, count=10)


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(photos, *flags, out="run"):
    return main(["train", "encoder", *map(str, [photos, "--output-dir", out, *flags])])


def check_refused(capsys, photos, message, *flags):
    capsys.readouterr()
    assert train(photos, *flags) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    last = stderr.splitlines()[-1]
    assert last.startswith("vl: error: ")
    assert message in last


def weights_of(path):
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no dict


def log_of(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def assert_same_run(one, other):
    assert log_of(one) == log_of(other)
    one, other = (folder / "encoder.safetensors" for folder in (one, other))
    assert one.read_bytes() == other.read_bytes()


def train_in_processes(out, photos, *flags, size=1, restart=0, die_at=0, die_rank=0):
    """Train in other processes, which may be killed."""
    given = [photos, "--output-dir", out, *QUICK, *flags]
    log = out.with_suffix(".output")
    if die_at:
        return together(killed, die_at, die_rank, *given, log=log, size=size, restart=restart)
    ended = together(train_encoder, *given, log=log, size=size, restart=restart)
    assert ended.codes == [0] * size, ended.output
    return ended


def test_trains_an_encoder(photos, workdir, capsys):
    flags = [*QUICK, "--epochs", 8, "--development-share", 0.2, "--recipe", "published"]
    assert train(photos, *flags, "--ema-decay", 0.5) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == "run/encoder.safetensors\n"
    assert "32 images of 4 classes to train on, 8 to validate on; float32" in stderr
    assert "best of 8 epochs" in stderr
    made = encoder_file.load("run/encoder.safetensors")
    assert (made.name, made.classes) == ("lenet5", COLORS)
    assert made.training["development"] == {"top-1": 100.0}
    assert made.training["images"] == 32
    assert made.training["settings"]["learning_rate"] == 0.02
    scores = [
        line["development/top-1"] for line in log_of(workdir / "run") if "validation_epoch" in line
    ]
    assert len(scores) == 8


def test_saves_the_best_weights(photos, workdir):
    """Of epochs with the same accuracy that of the lowest loss."""
    assert train(photos, *QUICK, "--epochs", 6, "--development-share", 0.2) == 0
    results = [
        (line["development/top-1"], -line["development/loss"])
        for line in log_of(workdir / "run")
        if "validation_epoch" in line
    ]
    made = encoder_file.load("run/encoder.safetensors")
    assert made.training["development"]["top-1"] == max(results)[0]
    last = torch.load("run/state.pt", weights_only=True)["model"]["encoder.c1.weight"]
    assert torch.equal(made.encoder.c1.weight, last) == (results.index(max(results)) == 5)


def test_without_validation_it_saves_the_last_weights(photos, workdir):
    assert train(photos, *QUICK, "--epochs", 2) == 0
    made = encoder_file.load("run/encoder.safetensors")
    last = torch.load("run/state.pt", weights_only=True)["model"]
    for key, value in made.encoder.state_dict().items():
        assert torch.equal(value, last[f"encoder.{key}"]), key
    assert made.training["development"] is None


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_after_kills_it_ends_as_uninterrupted(photos, tmp_path, workers):
    """In a step, within a checkpoint before its renaming, and right after one."""
    flags = ["--epochs", 2, "--development-share", 0.2, "--ema-decay", 0.9]
    flags += ["--num-workers", workers]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_in_processes(whole, photos, *flags)
    for run, moment in enumerate((9, 12, 22)):
        resume = ["--resume"] if run else []
        ended = train_in_processes(broken, photos, *flags, *resume, die_at=moment)
        assert ended.codes == [-9], ended.output
    train_in_processes(broken, photos, *flags, "--resume")
    assert_same_run(whole, broken)
    assert not list(broken.glob(".*"))


@pytest.mark.slow
def test_num_workers_changes_nothing(photos, tmp_path):
    flags = ["--epochs", 1, "--mixup", 0.2]
    for workers in (0, 2):
        train_in_processes(tmp_path / str(workers), photos, *flags, "--num-workers", workers)
    assert_same_run(tmp_path / "0", tmp_path / "2")


@pytest.mark.slow
def test_count_of_moments(photos, tmp_path):
    """So that kills are within the run: 5 steps, each with a checkpoint."""
    out = tmp_path / "run"
    given = [photos, "--output-dir", out, *QUICK, "--epochs", 1]
    ended = together(counted, str(tmp_path / "count"), *given, log=tmp_path / "log")
    assert ended.codes == [0], ended.output
    # A step has two, a checkpoint four with its renaming, an encoder as well.
    assert (tmp_path / "count").read_text() == str(5 * 6 + 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ["--mixup", 0, "--adversarial-epsilon", 0.02, "--gradient-accumulation", 2],
        ["--fsdp", "--gradient-accumulation", 2],
    ],
)
def test_two_processes_train_like_one(photos, tmp_path, flags):
    flags = ["--epochs", 2, "--development-share", 0.2, *flags]
    train_in_processes(tmp_path / "one", photos, *flags)
    train_in_processes(tmp_path / "two", photos, *flags, size=2)
    one, two = (log_of(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) == 4
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, abs=1e-4)
    one, two = (weights_of(tmp_path / name / "encoder.safetensors") for name in ("one", "two"))
    for key, value in one.items():
        assert torch.allclose(value, two[key], rtol=0, atol=1e-4 if "--fsdp" in flags else 1e-5), (
            key
        )


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--local-steps", 2], ["--fsdp"]])
def test_two_processes_resumed_after_a_kill_end_as_uninterrupted(photos, tmp_path, flags):
    flags = ["--epochs", 2, *flags]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_in_processes(whole, photos, *flags, size=2)
    ended = train_in_processes(broken, photos, *flags, size=2, die_at=20, die_rank=1)
    assert ended.codes[1] == -9
    train_in_processes(
        broken, photos, *flags, size=2, restart=1
    )  # as torchrun does, without --resume
    assert_same_run(whole, broken)


@pytest.mark.slow
def test_torchrun_restarts_processes_after_a_kill(photos, tmp_path):
    """The second is killed in the second epoch; all continue from the checkpoint."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "4", "--max-restarts", "2", "--monitor-interval", "0.1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, moment in (("whole", 0), ("broken", 35)):
        flags = [photos, "--output-dir", tmp_path / name, *QUICK, "--epochs", 2]
        run = [*command, "-m", "tests.processes.encoder_run", str(moment), "1", *map(str, flags)]
        done = subprocess.run(
            run, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, done.stderr
        assert ("exitcode: -9" in done.stderr) == (name == "broken"), done.stderr
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_refuses_a_step_that_is_not_finite(photos, workdir, capsys):
    flags = [*LENET, "--warmup-epochs", 1e-9, "--epochs", 2, "--learning-rate", 1e38]
    check_refused(capsys, photos, "not finite at step 2; try a lower learning rate", *flags)
    state = torch.load("run/state.pt", weights_only=True)
    assert state["progress"]["step"] == 1
    assert all(value.isfinite().all() for value in state["model"].values())
    assert not (workdir / "run/encoder.safetensors").exists()


def test_loss_that_is_not_finite_is_not_saved(photos, workdir, capsys, monkeypatch):
    """In the second epoch: the files are of the step before."""

    def with_nan(model, *given, **choices):
        def multiply(module, pixels, answer):
            seen.append(1)
            return answer * (float("nan") if len(seen) == 8 else 1)

        seen = []
        model.encoder.c1.register_forward_hook(multiply)
        return train_task(model, *given, **choices)

    monkeypatch.setattr("vl.encoding.training.train", with_nan)
    message = "the loss is nan, and the gradient is not finite at step 8; try a lower learning rate"
    check_refused(capsys, photos, message, *QUICK, "--epochs", 2)
    state = torch.load("run/state.pt", weights_only=True)
    assert state["progress"]["step"] == 7
    assert all(value.isfinite().all() for value in state["model"].values())
    made = encoder_file.load("run/encoder.safetensors")
    assert all(value.isfinite().all() for value in made.encoder.state_dict().values())


@pytest.mark.parametrize("which", ["checkpoint", "encoder"])
def test_full_disk_leaves_earlier_files(photos, workdir, capsys, monkeypatch, which):
    """It is full from the second epoch on."""
    replacing, save_file, saves = checkpoint.atomic_write, bundle.save_file, []

    @contextmanager
    def full(path):
        saves.append(path)
        with replacing(path) as beside:
            yield Path("/dev/full") if len(saves) > 7 else beside  # opened, and not renamed

    def onto_a_full_disk(tensors, beside, metadata):
        saves.append(beside)
        if len(saves) > 1:
            Path(beside).write_bytes(b"half of it")
            raise SafetensorError("Error while serializing: I/O error: No space left on device")
        save_file(tensors, beside, metadata=metadata)

    if which == "checkpoint":
        monkeypatch.setattr(checkpoint, "atomic_write", full)
    else:
        monkeypatch.setattr(bundle, "save_file", onto_a_full_disk)
    name = {"checkpoint": "state.pt", "encoder": "encoder.safetensors"}[which]
    check_refused(capsys, photos, f"run/{name}: could not be written", *QUICK, "--epochs", 2)
    monkeypatch.undo()
    os.chdir(workdir)
    encoder_file.load("run/encoder.safetensors")
    assert train(photos, *QUICK, "--epochs", 2, "--resume") == 0
    assert train(photos, *QUICK, "--epochs", 2, out="whole") == 0
    assert_same_run(workdir / "whole", workdir / "run")


def test_corrupt_image_is_left_out_with_one_warning(workdir, capsys):
    # One in a hundred may be corrupt.
    many = colored_images.folders(workdir / "many", COLORS, count=30)
    (many / "blue" / "7.png").write_bytes(b"no picture")
    assert train(many, *QUICK, "--batch-size", 40, "--epochs", 3) == 0
    stderr = capsys.readouterr().err
    assert stderr.count("left out: blue/7.png: not an image") == 1
    assert stderr.count("left out") == 1


def test_refuses_too_many_corrupt_images(workdir, capsys):
    many = colored_images.folders(workdir / "many", COLORS, count=30)
    for name in ("blue", "green"):
        (many / name / "7.png").write_bytes(b"")
    message = "2 of 120 images cannot be read, more than a share of 0.01"
    check_refused(capsys, many, message, *QUICK, "--epochs", 1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--learning-rate", "nan"], "--learning-rate"),
        (["--development-share", 0.95], "--development-share"),
        (["--development", "d", "--development-share", 0.1], "either"),
        (["--patience", 2], "--patience"),
        (["--decay-factor", 0.5], "--decay-factor requires --schedule staircase"),
        (["--momentum", 0.5, "--optimizer", "adam"], "--momentum requires --optimizer sgd"),
        (["--clean-weight", 0.3], "--clean-weight requires --adversarial-epsilon"),
        (["--sync-batch-norm", "--device", "cpu"], "--sync-batch-norm requires GPUs"),
        (["--pretrained", "file", "--width-factor", 0.5], "--width-factor"),
        (["--local-steps", 2, "--fsdp"], "--fsdp and --local-steps"),
        (["--fsdp", "--ema-decay", 0.9], "--ema-decay 0"),
        (["--fsdp", "--recipe", "published"], "--ema-decay 0"),
        (["--encoder", "lenet6"], "close to it are lenet5"),
        (["--encoder", "tiny"], "tiny cannot be trained"),
        (["--encoder", "lenet5", "--auxiliary"], "no option auxiliary"),
        (["--resume"], "there is no run to resume"),
        (["--device", "gpu"], "device is 'gpu'"),
    ],
)
def test_refuses_invalid_arguments(workdir, capsys, monkeypatch, flags, message):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)
    (workdir / "empty").mkdir()
    (workdir / "d").mkdir()
    (workdir / "file").write_text("")
    check_refused(capsys, "empty", message, *flags)
    assert not (workdir / "run").exists()


def test_refuses_folders_with_a_run_or_an_encoder(photos, workdir, capsys):
    assert train(photos, *QUICK, "--epochs", 1) == 0
    before = (workdir / "run/encoder.safetensors").read_bytes()
    check_refused(capsys, photos, "run already contains a run", *QUICK)
    (workdir / "run/state.pt").unlink()
    (workdir / "run/log.jsonl").unlink()
    check_refused(capsys, photos, "already contains an encoder", *QUICK)
    assert (workdir / "run/encoder.safetensors").read_bytes() == before
    (workdir / "file").write_text("")
    capsys.readouterr()
    assert train(photos, *QUICK, out="file") == 2
    assert "file: a file, not a folder" in capsys.readouterr().err


def test_refuses_to_resume_with_other_settings_or_data(photos, workdir, capsys):
    assert train(photos, *QUICK, "--epochs", 1) == 0
    given = [*QUICK, "--epochs", 1, "--resume", "--mixup", 0.5]
    check_refused(capsys, photos, "started with other settings: mixup was 0.0, is 0.5", *given)
    assert train(photos, *QUICK, "--epochs", 1, "--resume", "--num-workers", 1) == 0
    others = colored_images.folders(workdir / "others", (*COLORS[:3], "pink"), count=10)
    check_refused(capsys, others, "data hash", *QUICK, "--epochs", 1, "--resume")


def test_refuses_data_that_do_not_fit(photos, workdir, capsys):
    check_refused(capsys, "nowhere", "nowhere: No such file", *QUICK)
    one = colored_images.folders(workdir / "one", ("red",))
    check_refused(capsys, one, "one class", *QUICK)
    check_refused(capsys, photos, "--development", "--development", photos)
    check_refused(capsys, photos, "one: 1 classes are not in", *QUICK, "--development", one)
    assert not (workdir / "run").exists()


def test_refuses_batches_smaller_than_the_processes(photos, tmp_path):
    given = [photos, "--output-dir", tmp_path / "run", *QUICK, "--batch-size", 1]
    ended = together(train_encoder, *given, log=tmp_path / "log", size=2)
    assert ended.codes == [2, 2]
    assert "a batch of 1 cannot be shared by 2 processes" in ended.output


@pytest.mark.slow
def test_ema_averages_batch_statistics_in_bfloat16(photos, workdir):
    flags = ["--encoder", "inception_v1_bn", "--width-factor", 0.05, "--batch-size", 2]
    few = colored_images.folders(workdir / "few", COLORS[:2], count=3)
    flags += ["--gradient-accumulation", 2, "--epochs", 1, "--ema-decay", 0.5, "--auxiliary"]
    assert train(few, *flags, "--precision", "bfloat16") == 0
    made = encoder_file.load("run/encoder.safetensors")
    state = torch.load("run/state.pt", weights_only=True)
    assert state["progress"]["step"] == 2
    key = "stem.0.norm.running_mean"
    averaged = state["ema"][f"module.encoder.{key}"]
    assert torch.equal(made.encoder.state_dict()[key], averaged)
    assert not torch.equal(averaged, state["model"][f"encoder.{key}"])


def test_trains_with_another_image_size(photos, workdir):
    flags = ["--encoder", "inception_v1_bn", "--width-factor", 0.05, "--image-size", 32]
    assert train(photos, *flags, "--epochs", 1, "--batch-size", 20, *PLAIN) == 0
    trained = encoder_file.load(Path("run/encoder.safetensors"))
    assert trained.encoder.image_size == 32
    assert trained.encoder.width == create_encoder("inception_v1_bn", {"width_factor": 0.05}).width


def test_recipe_has_learning_rates_for_each_optimizer():
    sgd = EncoderTrainingConfig().resolved_recipe()
    adam = EncoderTrainingConfig(optimizer="adam").resolved_recipe()
    assert adam == sgd._replace(learning_rate=0.01 * sgd.learning_rate)
    finetuning = EncoderTrainingConfig().resolved_recipe(finetuning=True)
    assert finetuning == sgd._replace(learning_rate=0.1 * sgd.learning_rate)
    config = EncoderTrainingConfig(optimizer="adam", learning_rate=0.5)
    assert config.resolved_recipe().learning_rate == 0.5
