"""`vl train encoder`: killed and resumed, shared among processes, tuned, and what is refused."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open

from tests.helpers import coloured_pictures as coloured
from tests.helpers.tiny_captioner import Tiny, captioner, decoder
from tests.processes.encoder_run import counted, killed, together
from tests.processes.encoder_run import encoder as trained_apart
from vl import bundle
from vl.__main__ import main
from vl.commands.encoder_flags import EncoderRun, recipe_of
from vl.encoders.table import ENCODERS, create_encoder
from vl.encoding import encoder_file as encoder_bundle
from vl.encoding.encoder_file import TrainedEncoder
from vl.training import checkpoint
from vl.training.loop import train as train_task

ROOT = Path(__file__).resolve().parents[2]
COLOURS = ("black", "blue", "green", "white")  # of other greys, which is what LeNet-5 sees
PLAIN = ["--colour", 0, "--least-area", 0.9]
QUICK = ["--encoder", "lenet5", "--batch-size", 8, "--rate", 0.02, "--save-seconds", 0, *PLAIN]
LAST = ["--tune", "last", "--resize", "squash", "--views", "plain"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Forty of four colours."""
    return coloured.folders(tmp_path_factory.mktemp("photos"), COLOURS, count=10)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def first_rung(photos, tmp_path_factory):
    """The encoder of the rung "last", and the one that it borrowed."""
    folder = tmp_path_factory.mktemp("rung")
    torch.manual_seed(4)
    network = create_encoder("lenet5", classes=2)
    trained = TrainedEncoder(network, "lenet5", ("odd", "even"), {})
    encoder_bundle.save(folder / "borrowed.safetensors", trained)
    flags = [photos, "--out", folder, "--from", folder / "borrowed.safetensors", *LAST]
    assert main(["train", "encoder", *map(str, flags), "--development-share", "0.2"]) == 0
    return folder


def train(photos, *flags, out="run"):
    return main(["train", "encoder", *map(str, [photos, "--out", out, *flags])])


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
    given = [photos, "--out", out, *QUICK, *flags]
    log = out.with_suffix(".said")
    if die_at:
        return together(killed, die_at, die_rank, *given, log=log, size=size, restart=restart)
    ended = together(trained_apart, *given, log=log, size=size, restart=restart)
    assert ended.codes == [0] * size, ended.said
    return ended


def test_an_encoder_comes_out_that_knows_what_it_was_shown(photos, place, capsys):
    flags = [*QUICK, "--epochs", 8, "--development-share", 0.2, "--recipe", "published"]
    assert train(photos, *flags, "--average", 0.5) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == "run/encoder.safetensors\n"
    assert "32 pictures of 4 classes to train on, 8 to judge by; float32" in stderr
    assert "best of 8 epochs" in stderr
    made = encoder_bundle.load("run/encoder.safetensors")
    assert (made.name, made.classes) == ("lenet5", COLOURS)
    assert made.training["development"] == {"top-1": 100.0, "top-5": 100.0}
    assert made.training["pictures"] == 32
    assert made.training["settings"]["rate"] == 0.02
    judged = [
        line["development/top-1"] for line in log_of(place / "run") if "validation_epoch" in line
    ]
    assert len(judged) == 8


def test_the_best_weights_are_kept_and_not_the_last(photos, place):
    assert train(photos, *QUICK, "--epochs", 6, "--development-share", 0.2) == 0
    judged = [
        line["validation_score"] for line in log_of(place / "run") if "validation_epoch" in line
    ]
    made = encoder_bundle.load("run/encoder.safetensors")
    assert made.training["development"]["top-1"] == max(judged)
    last = torch.load("run/state.pt", weights_only=True)["model"]["encoder.c1.weight"]
    assert torch.equal(made.encoder.c1.weight, last) == (judged.index(max(judged)) == 5)


def test_without_pictures_to_judge_by_the_last_weights_are_kept(photos, place):
    assert train(photos, *QUICK, "--epochs", 2) == 0
    made = encoder_bundle.load("run/encoder.safetensors")
    last = torch.load("run/state.pt", weights_only=True)["model"]
    for key, value in made.encoder.state_dict().items():
        assert torch.equal(value, last[f"encoder.{key}"]), key
    assert made.training["development"] is None


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_several_moments_it_ends_as_undisturbed(photos, tmp_path, workers):
    """In a step, within a checkpoint before its renaming, and right after one."""
    flags = ["--epochs", 2, "--development-share", 0.2, "--average", 0.9, "--workers", workers]
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
        apart(tmp_path / str(workers), photos, *flags, "--workers", workers)
    assert_same_run(tmp_path / "0", tmp_path / "2")


@pytest.mark.slow
def test_moments_are_counted(photos, tmp_path):
    """So that the others are known to be within the run: 5 steps, each with a checkpoint."""
    out = tmp_path / "run"
    given = [photos, "--out", out, *QUICK, "--epochs", 1]
    ended = together(counted, str(tmp_path / "count"), *given, log=tmp_path / "said")
    assert ended.codes == [0], ended.said
    # A step has two, a checkpoint four with its renaming, an encoder as well.
    assert (tmp_path / "count").read_text() == str(5 * 6 + 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ["--mixup", 0, "--adversarial", 0.02, "--accumulate", 2],
        ["--part-each", "--accumulate", 2],
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
        assert torch.allclose(
            value, two[key], rtol=0, atol=1e-4 if "--part-each" in flags else 1e-5
        ), key


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--local-steps", 2], ["--part-each"]])
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
        flags = [photos, "--out", tmp_path / name, *QUICK, "--epochs", 2]
        run = [*command, "-m", "tests.processes.encoder_run", str(moment), "1", *map(str, flags)]
        done = subprocess.run(
            run, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, done.stderr
        assert ("exitcode: -9" in done.stderr) == (name == "broken"), done.stderr
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_an_absurd_rate_is_said_and_spoils_nothing(photos, place, capsys):
    flags = ["--encoder", "lenet5", "--batch-size", 8, "--save-seconds", 0, *PLAIN]
    flags += ["--warm-up", 1e-9, "--epochs", 2, "--rate", 1e38]
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

    monkeypatch.setattr("vl.commands.train_encoder.train", spoilt)
    message = "the loss is nan, and the gradient is not finite at step 8; try a lower learning rate"
    refused(capsys, photos, message, *QUICK, "--epochs", 2)
    state = torch.load("run/state.pt", weights_only=True)
    assert state["progress"]["step"] == 7
    assert all(value.isfinite().all() for value in state["model"].values())
    made = encoder_bundle.load("run/encoder.safetensors")
    assert all(value.isfinite().all() for value in made.encoder.state_dict().values())


@pytest.mark.parametrize("which", ["checkpoint", "encoder"])
def test_a_full_disk_is_said_and_leaves_what_was(photos, place, capsys, monkeypatch, which):
    """It is full from the second epoch on."""
    atomic_write, save_file, saves = checkpoint.atomic_write, bundle.save_file, []

    @contextmanager
    def full(path):
        saves.append(path)
        with atomic_write(path) as beside:
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
    encoder_bundle.load("run/encoder.safetensors")
    assert train(photos, *QUICK, "--epochs", 2, "--resume") == 0
    assert train(photos, *QUICK, "--epochs", 2, out="whole") == 0
    assert_same_run(place / "whole", place / "run")


def test_a_corrupt_picture_is_said_once_and_left_out(place, capsys):
    many = coloured.folders(place / "many", COLOURS, count=30)  # one in a hundred may be corrupt
    (many / "blue" / "7.png").write_bytes(b"no picture")
    assert train(many, *QUICK, "--batch-size", 40, "--epochs", 3) == 0
    stderr = capsys.readouterr().err
    assert stderr.count("left out: blue/7.png: not an image") == 1
    assert stderr.count("left out") == 1


def test_too_many_corrupt_pictures_stop_the_run(place, capsys):
    many = coloured.folders(place / "many", COLOURS, count=30)
    for name in ("blue", "green"):
        (many / name / "7.png").write_bytes(b"")
    message = "2 of 120 images cannot be read, more than a share of 0.01"
    refused(capsys, many, message, *QUICK, "--epochs", 1)


@pytest.mark.slow
def test_the_last_layer_is_solved_and_nothing_else_changes(first_rung, photos, capsys):
    borrowed = encoder_bundle.load(first_rung / "borrowed.safetensors")
    made = encoder_bundle.load(first_rung / "encoder.safetensors")
    assert made.classes == COLOURS
    assert made.training["development"]["top-1"] == 100
    for key, value in borrowed.encoder.state_dict().items():
        if not key.startswith("classifier."):
            assert torch.equal(value, made.encoder.state_dict()[key]), key
    assert not (first_rung / "log.jsonl").exists()  # nothing was stepped


def test_the_last_blocks_alone_are_trained(first_rung, photos, place):
    given = ["--from", first_rung / "encoder.safetensors", "--tune", "blocks", "--blocks", 2]
    assert train(photos, *given, "--epochs", 1, "--batch-size", 8, *PLAIN) == 0
    before = encoder_bundle.load(first_rung / "encoder.safetensors").encoder.state_dict()
    after = encoder_bundle.load("run/encoder.safetensors").encoder.state_dict()
    changed = {key.partition(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"c5", "f6", "classifier"}


def test_all_is_trained(first_rung, photos, place):
    given = ["--from", first_rung / "encoder.safetensors", "--tune", "all"]
    assert train(photos, *given, "--epochs", 1, "--batch-size", 8, *PLAIN) == 0
    before = encoder_bundle.load(first_rung / "encoder.safetensors").encoder.state_dict()
    after = encoder_bundle.load("run/encoder.safetensors").encoder.state_dict()
    changed = {key.partition(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"c1", "s2", "c3", "s4", "c5", "f6", "classifier"}


@pytest.mark.parametrize("rung", ["blocks", "all"])
def test_a_rung_begins_where_the_one_below_ended(first_rung, photos, place, capsys, rung):
    """At a rate of next to nothing it ends there: the classifier is not solved anew."""
    given = ["--from", first_rung / "encoder.safetensors", "--tune", rung, "--rate", 1e-12]
    assert train(photos, *given, "--epochs", 1, "--batch-size", 8, *PLAIN) == 0
    before = encoder_bundle.load(first_rung / "encoder.safetensors").encoder.state_dict()
    after = encoder_bundle.load("run/encoder.safetensors").encoder.state_dict()
    for key, value in before.items():
        assert torch.allclose(value, after[key], atol=1e-7), key
    assert "last layer" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_rung_of_other_classes_begins_with_a_solved_layer(first_rung, photos, place, capsys):
    given = ["--from", first_rung / "borrowed.safetensors", "--tune", "all", "--rate", 1e-12]
    assert train(photos, *given, "--epochs", 1, "--views", "plain", "--development-share", 0.2) == 0
    assert "last layer: weight decay" in capsys.readouterr().err
    assert encoder_bundle.load("run/encoder.safetensors").training["development"]["top-1"] == 100


@pytest.mark.slow
def test_a_captioner_s_encoder_can_be_begun_with(photos, place):
    network = create_encoder("lenet5", classes=3)
    captioner(encoder=network, encoder_name="lenet5", decoders=[decoder(width=84)]).save(
        "captioner"
    )
    assert train(photos, "--from", "captioner", *LAST) == 0
    made = encoder_bundle.load("run/encoder.safetensors")
    assert torch.equal(made.encoder.c1.weight, network.c1.weight)
    assert made.classes == COLOURS


# What is refused before anything is read: there is nothing at "nowhere".


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs", 0], "--epochs is 0; it must be at least 1"),
        (["--batch-size", 0], "--batch-size is 0"),
        (["--accumulate", 0], "--accumulate is 0"),
        (["--local-steps", 0], "--local-steps is 0"),
        (["--rate", 0], "--rate is 0.0; it must be more than 0"),
        (["--rate", "1e39"], "--rate is 1e+39"),
        (["--rate", "nan"], "--rate is nan"),
        (["--clip", -1], "--clip is -1.0"),
        (["--smoothing", 1.5], "--smoothing is 1.5; it must be at least 0"),
        (["--average", -0.5], "--average is -0.5"),
        (["--mixup", -1], "--mixup is -1.0"),
        (["--workers", -1], "--workers is -1"),
        (["--least-area", 0], "--least-area is 0.0"),
        (["--colour", 3], "--colour is 3.0"),
        (["--development-share", 0.95], "--development-share is 0.95"),
        (["--development", "d", "--development-share", 0.1], "one of them is enough"),
        (["--patience", 2], "--patience wants pictures to judge by: --development"),
        (["--patience", 0, "--development", "d"], "--patience is 0; it must be at least 1"),
        (["--tune", "all"], "--tune wants an encoder to begin with: --from"),
        (["--blocks", 3], "--blocks wants --tune blocks"),
        (["--views", "plain"], "--views wants --tune"),
        (["--resize", "squash"], "--resize wants pictures to judge by, or --tune"),
        (["--stair", 0.5], "--stair wants --schedule staircase"),
        (["--stair-epochs", 3], "--stair-epochs wants --schedule staircase"),
        (["--momentum", 0.5, "--optimizer", "adam"], "--momentum wants --optimizer sgd"),
        (["--clean-weight", 0.3], "--clean-weight wants --adversarial"),
        (["--shared-norms"], "--shared-norms wants GPUs: PyTorch has none of it on the CPU"),
        (["--from", "x", "--width-factor", 0.5], "--width-factor cannot go with --from"),
        (["--from", "x", "--auxiliary"], "--auxiliary cannot go with --from"),
        (
            ["--from", "x", "--tune", "last", "--epochs", 3, "--mixup", 0.1],
            "--epochs, --mixup cannot go with --tune last, which is solved and not stepped towards",
        ),
        (["--from", "x", "--tune", "last", "--resume"], "--resume cannot go with --tune last"),
        (["--local-steps", 2, "--part-each"], "--part-each cannot go with --local-steps"),
        (["--part-each", "--average", 0.9], "--part-each keeps no running mean of the weights"),
        (["--part-each", "--recipe", "published"], "--average 0"),
        (["--encoder", "lenet6"], "no encoder 'lenet6'; close to it are lenet5"),
        (["--encoder", "tiny"], "tiny cannot be trained: it has no classifier"),
        (["--encoder", "lenet5", "--auxiliary"], "lenet5 has no choice of auxiliary"),
        (["--width-factor", 0], "width factor is 0.0"),
        (["--resume"], "state.pt: there is no run to resume"),
        (["--device", "gpu"], "device is 'gpu'; it must be auto, cpu, cuda"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_read(
    place, capsys, monkeypatch, flags, message
):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)
    refused(capsys, "nowhere", message, *flags)
    assert not (place / "run").exists()


def test_a_folder_with_a_run_or_an_encoder_is_not_written_over(first_rung, photos, place, capsys):
    assert train(photos, *QUICK, "--epochs", 1) == 0
    before = (place / "run/encoder.safetensors").read_bytes()
    refused(capsys, photos, "run already contains a run", *QUICK)
    given = ["--from", first_rung / "encoder.safetensors"]
    refused(capsys, photos, "run holds an encoder already", *given, *LAST)
    (place / "run/state.pt").unlink()
    (place / "run/log.jsonl").unlink()
    refused(capsys, photos, "run holds an encoder already", *QUICK)
    assert (place / "run/encoder.safetensors").read_bytes() == before
    (place / "file").write_text("")
    capsys.readouterr()
    assert train(photos, *QUICK, out="file") == 2
    assert "file is a file; the run wants a folder" in capsys.readouterr().err


def test_a_run_is_resumed_with_the_settings_it_was_begun_with(photos, place, capsys):
    assert train(photos, *QUICK, "--epochs", 1) == 0
    given = [*QUICK, "--epochs", 1, "--resume", "--mixup", 0.5]
    refused(capsys, photos, "started with other settings: mixup was 0.0, is 0.5", *given)
    assert train(photos, *QUICK, "--epochs", 1, "--resume", "--workers", 1) == 0


def test_files_that_cannot_be_meant_are_refused(photos, place, capsys):
    refused(capsys, "nowhere", "nowhere: no such folder of classes or list", *QUICK)
    one = coloured.folders(place / "one", ("red",))
    refused(capsys, one, "one has one class; two or more can be told apart", *QUICK)
    refused(capsys, photos, "one: 1 classes are not in", *QUICK, "--development", one)
    refused(capsys, photos, "a folder, not a file", "--from", one, *LAST)
    refused(capsys, photos, "nothing: there is no such file", "--from", "nothing", *LAST)
    (place / "text").write_text("some text")
    refused(capsys, photos, "text: not a safetensors file", "--from", "text", *LAST)
    trained = TrainedEncoder(create_encoder("lenet5", classes=2), "lenet5", ("a", "b"), {})
    encoder_bundle.save("held", trained)
    given = ["--from", "held", "--encoder", "alexnet", *LAST]
    refused(capsys, photos, "holds an encoder 'lenet5', not 'alexnet'", *given)
    bundle.write("other", kind="index", configuration={}, modules={})
    refused(capsys, photos, "a bundle of kind 'index'", "--from", "other", *LAST)
    assert not (place / "run").exists()


def test_too_few_blocks_are_refused(first_rung, photos, place, capsys):
    given = ["--from", first_rung / "encoder.safetensors", "--tune", "blocks", "--blocks", 9]
    refused(capsys, photos, "blocks is 9; this encoder has 6", *given)


def test_a_batch_has_a_picture_for_each_process(photos, tmp_path):
    given = [photos, "--out", tmp_path / "run", *QUICK, "--batch-size", 1]
    ended = together(trained_apart, *given, log=tmp_path / "said", size=2)
    assert ended.codes == [2, 2]
    assert "a batch of 1 cannot be shared by 2 processes" in ended.said


@pytest.mark.slow
def test_bfloat16_and_accumulation_and_a_running_mean_go_together(photos, place):
    """With batch normalisation, whose statistics are averaged as the weights are."""
    flags = ["--encoder", "inception_v1_bn", "--width-factor", 0.05, "--batch-size", 2]
    few = coloured.folders(place / "few", COLOURS[:2], count=3)
    flags += ["--accumulate", 2, "--epochs", 1, "--average", 0.5, "--precision", "bfloat16"]
    assert train(few, *flags, "--auxiliary") == 0
    made = encoder_bundle.load("run/encoder.safetensors")
    state = torch.load("run/state.pt", weights_only=True)
    assert state["progress"]["step"] == 2
    key = "stem.0.norm.running_mean"
    averaged = state["ema"][f"module.encoder.{key}"]
    assert torch.equal(made.encoder.state_dict()[key], averaged)
    assert not torch.equal(averaged, state["model"][f"encoder.{key}"])


def test_an_encoder_is_trained_at_the_image_size_that_is_told(photos, place):
    flags = ["--encoder", "inception_v1_bn", "--width-factor", 0.05, "--image-size", 32]
    assert train(photos, *flags, "--epochs", 1, "--batch-size", 20, *PLAIN) == 0
    trained = encoder_bundle.load(Path("run/encoder.safetensors"))
    assert trained.encoder.image_size == 32
    assert trained.encoder.width == create_encoder("inception_v1_bn", width_factor=0.05).width


def test_a_run_is_not_resumed_on_other_pictures(tmp_path, place, capsys):
    others = coloured.folders(tmp_path / "others", COLOURS, count=3)
    assert train(others, *QUICK, "--epochs", 1) == 0
    renamed = others / COLOURS[0]
    renamed.rename(others / "zinc")
    said = refused(capsys, others, "hash of names and classes was", *QUICK, "--resume")
    assert "started with other settings" in said


def test_the_rate_of_adam_is_its_own(photos):
    by_gradient = recipe_of(EncoderRun(photos, Path("run")))
    by_adam = recipe_of(EncoderRun(photos, Path("run"), optimizer="adam"))
    assert by_adam == by_gradient._replace(rate=by_gradient.rate / 100)
    assert recipe_of(EncoderRun(photos, Path("run"), optimizer="adam", rate=0.5)).rate == 0.5


def test_what_is_trained_on_is_not_judged_by(photos, place, capsys):
    refused(capsys, photos, "--development is what is trained on", "--development", photos)
