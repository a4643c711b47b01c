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
from tests.processes.encoder_run import encoder as trained_apart
from vl import bundle
from vl.__main__ import main
from vl.encoders.table import ENCODERS, create_encoder
from vl.encoding import encoder_file
from vl.encoding.config import EncoderTrainingConfig
from vl.training import checkpoint
from vl.training.loop import train as train_task

ROOT = Path(__file__).resolve().parents[2]
COLORS = ("black", "blue", "green", "white")  # of other greys, which is what LeNet-5 sees
PLAIN = ["--color-jitter", 0, "--min-crop-area", 0.9]
QUICK = [
    "--encoder",
    "lenet5",
    "--batch-size",
    8,
    "--learning-rate",
    0.02,
    "--checkpoint-seconds",
    0,
    *PLAIN,
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Forty of four colours."""
    return colored_images.folders(tmp_path_factory.mktemp("photos"), COLORS, count=10)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(photos, *flags, out="run"):
    return main(["train", "encoder", *map(str, [photos, "--output-dir", out, *flags])])


def refused(capsys, photos, message, *flags):
    capsys.readouterr()
    assert train(photos, *flags) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    last = stderr.splitlines()[-1]
    assert last.startswith("vl: error: ")
    assert message in last
    return stderr


def weights_of(path):
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no dict


def log_of(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def assert_same_run(one, other):
    assert log_of(one) == log_of(other)
    for name in ("encoder.safetensors",):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def apart(out, photos, *flags, size=1, restart=0, die_at=0, die_rank=0):
    """The same in processes of its own, by the bytes of a folder's name."""
    given = [photos, "--output-dir", out, *QUICK, *flags]
    log = out.with_suffix(".said")
    if die_at:
        return together(killed, die_at, die_rank, *given, log=log, size=size, restart=restart)
    ended = together(trained_apart, *given, log=log, size=size, restart=restart)
    assert ended.codes == [0] * size, ended.said
    return ended


def test_an_encoder_comes_out_that_knows_what_it_was_shown(photos, place, capsys):
    flags = [*QUICK, "--epochs", 8, "--development-share", 0.2, "--recipe", "published"]
    assert train(photos, *flags, "--ema-decay", 0.5) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == "run/encoder.safetensors\n"
    assert "32 images of 4 classes to train on, 8 to validate on; float32" in stderr
    assert "best of 8 epochs" in stderr
    made = encoder_file.load("run/encoder.safetensors")
    assert (made.name, made.classes) == ("lenet5", COLORS)
    assert made.training["development"] == {"top-1": 100.0, "top-5": 100.0}
    assert made.training["images"] == 32
    assert made.training["settings"]["learning_rate"] == 0.02
    judged = [
        line["development/top-1"] for line in log_of(place / "run") if "validation_epoch" in line
    ]
    assert len(judged) == 8


def test_the_best_weights_are_kept_and_not_the_last(photos, place):
    assert train(photos, *QUICK, "--epochs", 6, "--development-share", 0.2) == 0
    judged = [
        line["validation_score"] for line in log_of(place / "run") if "validation_epoch" in line
    ]
    made = encoder_file.load("run/encoder.safetensors")
    assert made.training["development"]["top-1"] == max(judged)
    last = torch.load("run/state.pt", weights_only=True)["model"]["encoder.c1.weight"]
    assert torch.equal(made.encoder.c1.weight, last) == (judged.index(max(judged)) == 5)


def test_without_pictures_to_judge_by_the_last_weights_are_kept(photos, place):
    assert train(photos, *QUICK, "--epochs", 2) == 0
    made = encoder_file.load("run/encoder.safetensors")
    last = torch.load("run/state.pt", weights_only=True)["model"]
    for key, value in made.encoder.state_dict().items():
        assert torch.equal(value, last[f"encoder.{key}"]), key
    assert made.training["development"] is None


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_several_moments_it_ends_as_undisturbed(photos, tmp_path, workers):
    """In a step, within a checkpoint before its renaming, and right after one."""
    flags = [
        "--epochs",
        2,
        "--development-share",
        0.2,
        "--ema-decay",
        0.9,
        "--num-workers",
        workers,
    ]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    apart(whole, photos, *flags)
    for number, moment in enumerate((9, 12, 22)):
        resume = ["--resume"] if number else []
        ended = apart(broken, photos, *flags, *resume, die_at=moment)
        assert ended.codes == [-9], ended.said
    apart(broken, photos, *flags, "--resume")
    assert_same_run(whole, broken)
    assert not list(broken.glob(".*"))


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(photos, tmp_path):
    flags = ["--epochs", 1, "--mixup", 0.2]
    for workers in (0, 2):
        apart(tmp_path / str(workers), photos, *flags, "--num-workers", workers)
    assert_same_run(tmp_path / "0", tmp_path / "2")


@pytest.mark.slow
def test_moments_are_counted(photos, tmp_path):
    """So that the others are known to be within the run: 5 steps, each with a checkpoint."""
    out = tmp_path / "run"
    given = [photos, "--output-dir", out, *QUICK, "--epochs", 1]
    ended = together(counted, str(tmp_path / "count"), *given, log=tmp_path / "said")
    assert ended.codes == [0], ended.said
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
def test_two_processes_are_one(photos, tmp_path, flags):
    flags = ["--epochs", 2, "--development-share", 0.2, *flags]
    apart(tmp_path / "one", photos, *flags)
    apart(tmp_path / "two", photos, *flags, size=2)
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
def test_two_processes_killed_and_resumed_end_as_undisturbed(photos, tmp_path, flags):
    flags = ["--epochs", 2, *flags]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    apart(whole, photos, *flags, size=2)
    ended = apart(broken, photos, *flags, size=2, die_at=20, die_rank=1)
    assert ended.codes[1] == -9
    apart(broken, photos, *flags, size=2, restart=1)  # as torchrun does, without --resume
    assert_same_run(whole, broken)


@pytest.mark.slow
def test_four_processes_of_which_one_is_killed_are_restarted_by_torchrun(photos, tmp_path):
    """The second dies in the second epoch; all begin anew from the checkpoint."""
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


def test_an_absurd_rate_is_said_and_spoils_nothing(photos, place, capsys):
    flags = ["--encoder", "lenet5", "--batch-size", 8, "--checkpoint-seconds", 0, *PLAIN]
    flags += ["--warmup-epochs", 1e-9, "--epochs", 2, "--learning-rate", 1e38]
    refused(capsys, photos, "not finite at step 2; try a lower learning rate", *flags)
    state = torch.load("run/state.pt", weights_only=True)
    assert state["progress"]["step"] == 1
    assert all(value.isfinite().all() for value in state["model"].values())
    assert not (place / "run/encoder.safetensors").exists()


def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(
    photos, place, capsys, monkeypatch
):
    """In the second epoch: what is there is of the first, or of the step before."""

    def spoilt(model, *given, **choices):
        def spoil(module, pixels, answer):
            seen.append(1)
            return answer * (float("nan") if len(seen) == 8 else 1)

        seen = []
        model.encoder.c1.register_forward_hook(spoil)
        return train_task(model, *given, **choices)

    monkeypatch.setattr("vl.encoding.training.train", spoilt)
    message = "the loss is nan, and the gradient is not finite at step 8; try a lower learning rate"
    refused(capsys, photos, message, *QUICK, "--epochs", 2)
    state = torch.load("run/state.pt", weights_only=True)
    assert state["progress"]["step"] == 7
    assert all(value.isfinite().all() for value in state["model"].values())
    made = encoder_file.load("run/encoder.safetensors")
    assert all(value.isfinite().all() for value in made.encoder.state_dict().values())


@pytest.mark.parametrize("which", ["checkpoint", "encoder"])
def test_a_full_disk_is_said_and_leaves_what_was(photos, place, capsys, monkeypatch, which):
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
    refused(capsys, photos, f"run/{name}: could not be written", *QUICK, "--epochs", 2)
    monkeypatch.undo()
    os.chdir(place)
    encoder_file.load("run/encoder.safetensors")
    assert train(photos, *QUICK, "--epochs", 2, "--resume") == 0
    assert train(photos, *QUICK, "--epochs", 2, out="whole") == 0
    assert_same_run(place / "whole", place / "run")


def test_a_corrupt_picture_is_said_once_and_left_out(place, capsys):
    many = colored_images.folders(
        place / "many", COLORS, count=30
    )  # one in a hundred may be corrupt
    (many / "blue" / "7.png").write_bytes(b"no picture")
    assert train(many, *QUICK, "--batch-size", 40, "--epochs", 3) == 0
    stderr = capsys.readouterr().err
    assert stderr.count("left out: blue/7.png: not an image") == 1
    assert stderr.count("left out") == 1


def test_too_many_corrupt_pictures_stop_the_run(place, capsys):
    many = colored_images.folders(place / "many", COLORS, count=30)
    for name in ("blue", "green"):
        (many / name / "7.png").write_bytes(b"")
    message = "2 of 120 images cannot be read, more than a share of 0.01"
    refused(capsys, many, message, *QUICK, "--epochs", 1)


# What is refused before anything is read: there is nothing at "nowhere".


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs", 0], "--epochs"),
        (["--learning-rate", "nan"], "--learning-rate"),
        (["--color-jitter", 3], "--color-jitter"),
        (["--development-share", 0.95], "--development-share"),
        (["--development", "d", "--development-share", 0.1], "either"),
        (["--patience", 2], "--patience"),
        (["--decay-factor", 0.5], "--decay-factor requires --schedule staircase"),
        (["--decay-every", 3], "--decay-every requires --schedule staircase"),
        (["--momentum", 0.5, "--optimizer", "adam"], "--momentum requires --optimizer sgd"),
        (["--clean-weight", 0.3], "--clean-weight requires --adversarial-epsilon"),
        (["--sync-batch-norm", "--device", "cpu"], "--sync-batch-norm requires GPUs"),
        (["--pretrained", "file", "--width-factor", 0.5], "--width-factor"),
        (["--pretrained", "file", "--auxiliary"], "--auxiliary"),
        (["--local-steps", 2, "--fsdp"], "--fsdp and --local-steps"),
        (["--fsdp", "--ema-decay", 0.9], "--ema-decay 0"),
        (["--fsdp", "--recipe", "published"], "--ema-decay 0"),
        (["--encoder", "lenet6"], "close to it are lenet5"),
        (["--encoder", "tiny"], "tiny cannot be trained"),
        (["--encoder", "lenet5", "--auxiliary"], "no option auxiliary"),
        (["--width-factor", 0], "--width-factor"),
        (["--resume"], "there is no run to resume"),
        (["--device", "gpu"], "device is 'gpu'"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_read(
    place, capsys, monkeypatch, flags, message
):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)
    (place / "empty").mkdir()
    (place / "d").mkdir()
    (place / "file").write_text("")
    refused(capsys, "empty", message, *flags)
    assert not (place / "run").exists()


def test_a_folder_with_a_run_or_an_encoder_is_not_written_over(photos, place, capsys):
    assert train(photos, *QUICK, "--epochs", 1) == 0
    before = (place / "run/encoder.safetensors").read_bytes()
    refused(capsys, photos, "run already contains a run", *QUICK)
    (place / "run/state.pt").unlink()
    (place / "run/log.jsonl").unlink()
    refused(capsys, photos, "already contains an encoder", *QUICK)
    assert (place / "run/encoder.safetensors").read_bytes() == before
    (place / "file").write_text("")
    capsys.readouterr()
    assert train(photos, *QUICK, out="file") == 2
    assert "file is a file" in capsys.readouterr().err


def test_a_run_is_resumed_with_the_settings_it_was_begun_with(photos, place, capsys):
    assert train(photos, *QUICK, "--epochs", 1) == 0
    given = [*QUICK, "--epochs", 1, "--resume", "--mixup", 0.5]
    refused(capsys, photos, "started with other settings: mixup was 0.0, is 0.5", *given)
    assert train(photos, *QUICK, "--epochs", 1, "--resume", "--num-workers", 1) == 0


def test_refuses_files_that_do_not_fit(photos, place, capsys):
    refused(capsys, "nowhere", "nowhere: No such file", *QUICK)
    one = colored_images.folders(place / "one", ("red",))
    refused(capsys, one, "one class", *QUICK)
    refused(capsys, photos, "one: 1 classes are not in", *QUICK, "--development", one)
    assert not (place / "run").exists()


def test_a_batch_has_a_picture_for_each_process(photos, tmp_path):
    given = [photos, "--output-dir", tmp_path / "run", *QUICK, "--batch-size", 1]
    ended = together(trained_apart, *given, log=tmp_path / "said", size=2)
    assert ended.codes == [2, 2]
    assert "a batch of 1 cannot be shared by 2 processes" in ended.said


@pytest.mark.slow
def test_bfloat16_and_accumulation_and_a_running_mean_go_together(photos, place):
    """With batch normalisation, whose statistics are averaged as the weights are."""
    flags = ["--encoder", "inception_v1_bn", "--width-factor", 0.05, "--batch-size", 2]
    few = colored_images.folders(place / "few", COLORS[:2], count=3)
    flags += [
        "--gradient-accumulation",
        2,
        "--epochs",
        1,
        "--ema-decay",
        0.5,
        "--precision",
        "bfloat16",
    ]
    assert train(few, *flags, "--auxiliary") == 0
    made = encoder_file.load("run/encoder.safetensors")
    state = torch.load("run/state.pt", weights_only=True)
    assert state["progress"]["step"] == 2
    key = "stem.0.norm.running_mean"
    averaged = state["ema"][f"module.encoder.{key}"]
    assert torch.equal(made.encoder.state_dict()[key], averaged)
    assert not torch.equal(averaged, state["model"][f"encoder.{key}"])


def test_an_encoder_is_trained_at_the_image_size_that_is_told(photos, place):
    flags = ["--encoder", "inception_v1_bn", "--width-factor", 0.05, "--image-size", 32]
    assert train(photos, *flags, "--epochs", 1, "--batch-size", 20, *PLAIN) == 0
    trained = encoder_file.load(Path("run/encoder.safetensors"))
    assert trained.encoder.image_size == 32
    assert trained.encoder.width == create_encoder("inception_v1_bn", width_factor=0.05).width


def test_a_run_is_not_resumed_on_other_pictures(tmp_path, place, capsys):
    others = colored_images.folders(tmp_path / "others", COLORS, count=3)
    assert train(others, *QUICK, "--epochs", 1) == 0
    renamed = others / COLORS[0]
    renamed.rename(others / "zinc")
    said = refused(capsys, others, "data hash", *QUICK, "--resume")
    assert "started with other settings" in said


def test_recipe_has_learning_rates_for_each_optimizer():
    sgd = EncoderTrainingConfig().resolved_recipe()
    adam = EncoderTrainingConfig(optimizer="adam").resolved_recipe()
    assert adam == sgd._replace(learning_rate=0.01 * sgd.learning_rate)
    finetuning = EncoderTrainingConfig().resolved_recipe(finetuning=True)
    assert finetuning == sgd._replace(learning_rate=0.1 * sgd.learning_rate)
    config = EncoderTrainingConfig(optimizer="adam", learning_rate=0.5)
    assert config.resolved_recipe().learning_rate == 0.5


def test_what_is_trained_on_is_not_judged_by(photos, place, capsys):
    refused(capsys, photos, "--development", "--development", photos)
