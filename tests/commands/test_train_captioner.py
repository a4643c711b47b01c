"""`vl train captioner`, `vl finetune captioner`, `vl self-critical captioner`."""

import json
import math
from pathlib import Path

import pytest
import torch

from tests.helpers.shapes import draw_shape
from tests.helpers.tiny_captioner import Tiny, captioner, drawings, embedder, encoder
from vl.__main__ import main
from vl.captioning.captioner import Captioner
from vl.captioning.task import CaptionerTask
from vl.data.embedding_writer import EmbeddingWriter
from vl.data.embeddings import Provenance
from vl.data.outputs import lock_output
from vl.encoders.table import ENCODERS
from vl.encoders.weights import fingerprint

COUNT, DEV = 12, 3
MODEL = "run/captioner.safetensors"
FLICKR8K = ["--captions", "tokens.txt", "--train-list", "train.txt", "--dev-list", "dev.txt"]
SMALL = ["--min-count", "1", "--epochs", "2", "--batch-size", "16", "--warmup-steps", "2"]
TRAIN = [
    *("train", "captioner", "--embeddings", "images.npy", "--weights", "weights"),
    *("--encoder", "tiny", "--embedding-size", "8", "--hidden-size", "8", "--ema-decay", "0.9"),
]
FINETUNE = ["finetune", "captioner", "--image-dir", "images", "--batch-size", "4", "--model"]
SELF_CRITICAL = ["self-critical", "captioner", "--embeddings", "images.npy", "--model"]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Drawings, their captions in Flickr8k's format, embeddings and weights."""
    monkeypatch.chdir(tmp_path)
    paths = drawings(tmp_path / "images", COUNT)
    lines = [
        f"{path.name}#{n}\t{caption}"
        for seed, path in enumerate(paths)
        for n, caption in enumerate(draw_shape(seed, side=4).captions)
    ]
    (tmp_path / "tokens.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "train.txt").write_text("\n".join(f"{n}.png" for n in range(DEV, COUNT)))
    (tmp_path / "dev.txt").write_text("\n".join(f"{n}.png" for n in range(DEV)))
    captioner().save(tmp_path / "weights")
    embed("images.npy")
    return tmp_path


def embed(output, seed=0):
    """The embeddings of all images by the tiny encoder of this seed."""
    model = embedder(seed, views=("plain", "flip"))
    paths = sorted(Path("images").iterdir())
    provenance = Provenance(
        encoder="tiny",
        fingerprint=model.fingerprint,
        resize=model.resize,
        precision=model.precision,
        views=model.views,
        width=model.width,
    )
    writer = EmbeddingWriter(output, provenance)
    writer.add([path.name for path in paths], model(paths))
    writer.finish()


def train(*flags, captions=FLICKR8K, command=TRAIN, output="run"):
    arguments = [*captions, *SMALL, *command[2:], "--output-dir", output, *map(str, flags)]
    return main([*command[:2], *arguments])


def load(name):
    return Captioner.load(f"{name}/captioner.safetensors")


def log_of(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def assert_refused(capsys, message, *flags, **options):
    capsys.readouterr()
    assert train(*flags, **options) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.splitlines()[-1].startswith("vl: error: ")
    assert message in stderr.splitlines()[-1]


def karpathy(folder):
    images = [
        {
            "filename": f"{seed}.png",
            "imgid": seed,
            "split": "val" if seed < DEV else "train",
            "sentences": [{"raw": caption} for caption in draw_shape(seed, side=4).captions],
        }
        for seed in range(COUNT)
    ]
    (folder / "dataset.json").write_text(json.dumps({"images": images, "dataset": "drawn"}))
    return ["--captions", "dataset.json", "--train-split", "train", "--dev-split", "val"]


def coco(folder):
    for name, seeds in (("dev.json", range(DEV)), ("train.json", range(DEV, COUNT))):
        images = [{"id": seed, "file_name": f"{seed}.png"} for seed in seeds]
        annotations = [
            {"id": 10 * seed + n, "image_id": seed, "caption": caption}
            for seed in seeds
            for n, caption in enumerate(draw_shape(seed, side=4).captions)
        ]
        content = json.dumps({"images": images, "annotations": annotations})
        (folder / name).write_text(content)
    return ["--captions", "train.json", "--dev-captions", "dev.json"]


def test_trains_a_captioner(folder, capsys):
    assert train() == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == f"{MODEL}\n"
    assert "9 training images, 3 development images" in stderr
    assert "best of 2 epochs" in stderr
    model = load("run")
    assert model.embedder.fingerprint == fingerprint(encoder())
    assert (model.embedder.views, model.embedder.resize) == (("plain", "flip"), "squash")
    assert (model.search.num_beams, model.training["images"]) == (3, 9)
    assert model.training["development"].keys() == {"loss", "bleu-1", "bleu-4", "distinct"}
    assert model.training["settings"]["min_count"] == 1
    assert (folder / "run" / "state.pt").exists()
    assert list((folder / "run" / "tensorboard").iterdir())
    validations = [line for line in log_of(folder / "run") if "validation_epoch" in line]
    assert [line["validation_epoch"] for line in validations] == [1, 2]
    assert main(["caption", "images", "--model", MODEL]) == 0
    assert len(capsys.readouterr().out.splitlines()) == COUNT


@pytest.mark.parametrize("write", [karpathy, coco])
def test_caption_formats_are_equivalent(folder, write):
    assert train() == 0
    assert train(captions=write(folder), output="other") == 0
    first, second = load("run"), load("other")
    assert first.vocabulary == second.vocabulary
    for name, value in first.decoders[0].state_dict().items():
        assert torch.equal(value, second.decoders[0].state_dict()[name]), name


@pytest.mark.slow
def test_the_loss_falls(folder):
    sizes = ["--embedding-size", 48, "--hidden-size", 48, "--dropout", 0]
    assert train(*sizes, "--learning-rate", 0.02, "--patience", 20, "--epochs", 20) == 0
    losses = [line["loss"] for line in log_of(folder / "run") if "learning_rate" in line]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    "flags",
    [
        ["--scheduled-sampling", "0.9"],
        ["--label-smoothing", "0.1"],
        ["--weight-decay", "0.5"],
        ["--optimizer", "sgd"],
        ["--schedule", "staircase", "--decay-every", "0.1"],
        ["--grad-clip", "0.001", "--optimizer", "sgd"],
        ["--ema-decay", "0"],
        ["--seed", "1"],
        ["--cell", "paper"],
        ["--no-standardize"],
        ["--precision", "bfloat16"],
    ],
)
def test_flags_change_the_weights(folder, flags):
    plain = ["--dropout", "0"]
    assert train(*plain) == 0
    assert train(*plain, output="again") == 0
    assert train(*plain, *flags, output="other") == 0
    first, again, other = (
        load(name).decoders[0].image_embedding.weight for name in ("run", "again", "other")
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.slow
@pytest.mark.parametrize("command", [TRAIN, [*FINETUNE, MODEL]])
def test_resumed_run_ends_as_an_uninterrupted_one(folder, monkeypatch, command):
    flags = ["--scheduled-sampling", "0.3", "--checkpoint-seconds", "0", "--epochs", "3"]
    if command is not TRAIN:
        assert train() == 0
    assert train(*flags, command=command, output="whole") == 0
    calls = 0
    forward = CaptionerTask.forward

    def interrupted(self, batch, step):
        nonlocal calls
        calls += self.training
        if calls == 5:  # in the second epoch
            raise KeyboardInterrupt
        return forward(self, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(CaptionerTask, "forward", interrupted)
        assert train(*flags, command=command, output="stopped") == 130
    assert train(*flags, "--resume", command=command, output="stopped") == 0
    whole, stopped = folder / "whole", folder / "stopped"
    assert log_of(whole) == log_of(stopped)
    name = "captioner.safetensors"
    assert (whole / name).read_bytes() == (stopped / name).read_bytes()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], ""),
        (["--warmup-steps", 8], "a warmup of 8 steps"),
        (["--schedule", "staircase"], "every 8 epochs"),
        (["--schedule", "staircase", "--decay-every", 1], ""),
    ],
)
def test_schedules_longer_than_the_run_are_warned_of(folder, capsys, flags, message):
    assert train(*flags) == 0
    lines = capsys.readouterr().err.splitlines()
    warnings = [line for line in lines if "learning rate" in line]
    assert [message in line for line in warnings] == [True] * bool(message)


def test_default_warmup_is_a_tenth_of_a_short_run(folder, capsys):
    """9 images of 5 captions are 3 steps of 16 captions; of 10 epochs 30."""
    small = SMALL[: SMALL.index("--warmup-steps")]
    arguments = [*FLICKR8K, *small, *TRAIN[2:], "--epochs", "10", "--output-dir", "run"]
    assert main([*TRAIN[:2], *arguments]) == 0
    assert "warmup: 3 steps" in capsys.readouterr().err
    rates = [line["learning_rate"] for line in log_of(folder / "run") if "learning_rate" in line]
    assert rates[0] == pytest.approx(1e-3 * 0.5 * (1 + math.cos(math.pi * 2 / 30)))  # the peak


def test_few_development_images_are_warned_of_and_selected_by_the_loss(folder, capsys):
    assert train("--epochs", 3) == 0
    err = capsys.readouterr().err
    assert "development split is small: with 3 images" in err
    assert "selected by loss" in err
    log = [line for line in log_of(folder / "run") if "validation_epoch" in line]
    best = min(log, key=lambda line: line["development/loss"])
    assert load("run").training["development"]["loss"] == best["development/loss"]
    assert train("--selection-metric", "bleu-4", output="other") == 0
    assert "selected by" not in capsys.readouterr().err


def test_two_trainings_do_not_share_a_folder(folder, capsys):
    with lock_output(folder / "run", folder=True):
        assert_refused(capsys, "run: process")
    assert train() == 0
    assert not (folder / "run" / ".lock").exists()


def test_a_run_is_not_overwritten_and_resumes_with_its_settings_alone(folder, capsys):
    assert_refused(capsys, "no run to resume", "--resume")
    assert train() == 0
    content = (folder / MODEL).read_bytes()
    assert_refused(capsys, "--resume")
    assert_refused(capsys, "learning_rate", "--resume", "--learning-rate", 0.5)
    assert train("--resume") == 0
    assert (folder / MODEL).read_bytes() == content


@pytest.mark.parametrize("flags", [["--ema-decay", 0], ["--reinitialize-decoder"]])
def test_finetuning_trains_the_encoder_too(folder, capsys, flags):
    assert train() == 0
    capsys.readouterr()
    command = [*FINETUNE, MODEL]
    learning_rate = ["--encoder-learning-rate", "0.01"]
    assert train(*learning_rate, *flags, command=command, output="tuned") == 0
    assert capsys.readouterr().out == "tuned/captioner.safetensors\n"
    first, tuned = load("run"), load("tuned")
    configs = [model.embedder.config() for model in (first, tuned)]
    assert configs[0]["encoder"].pop("fingerprint") != configs[1]["encoder"].pop("fingerprint")
    assert configs[0] == configs[1]
    before, after = (model.embedder.encoder.state_dict() for model in (first, tuned))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"body.0.weight", "body.0.bias", "body.2.weight", "body.2.bias"}
    assert main(["caption", "images", "--model", "tuned/captioner.safetensors"]) == 0


def test_self_critical_training_trains_the_decoder_alone(folder):
    assert train() == 0
    command = [*SELF_CRITICAL, MODEL, "--bleu-weight", "1"]
    assert train("--batch-size", "4", command=command, output="tuned") == 0
    first, tuned = load("run"), load("tuned")
    assert first.embedder.config() == tuned.embedder.config()
    assert first.vocabulary == tuned.vocabulary
    before, after = first.decoders[0], tuned.decoders[0]
    assert torch.equal(before.image_mean, after.image_mean)
    assert not torch.equal(before.output.weight, after.output.weight)


@pytest.mark.parametrize("command", [FINETUNE, SELF_CRITICAL])
def test_refuses_captioners_that_do_not_match(folder, capsys, command):
    assert_refused(capsys, MODEL, command=[*command, MODEL])
    assert train() == 0
    options = {"command": [*command, MODEL], "output": "tuned"}
    assert_refused(capsys, "another vocabulary", "--min-count", 6, **options)
    assert main(["caption", "--model", MODEL, MODEL, "--save-model", "both.safetensors"]) == 0
    assert_refused(capsys, "2 decoders", command=[*command, "both.safetensors"])


def test_finetuning_refuses_missing_and_damaged_images(folder, capsys):
    assert train() == 0
    options = {"command": [*FINETUNE, MODEL], "output": "tuned"}
    (folder / "images" / "0.png").unlink()
    (folder / "images" / "5.png").unlink()
    assert_refused(capsys, "2 images are missing, the first images/5.png", **options)
    drawings(folder / "images", 1)
    (folder / "images" / "5.png").write_text("no image")
    assert_refused(capsys, "images/5.png", **options)


def test_refuses_embeddings_that_do_not_match(folder, capsys):
    embed("others.npy", seed=1)
    assert_refused(capsys, fingerprint(encoder(1)), "--embeddings", "others.npy")
    (folder / "images" / "7.png").unlink()
    embed("fewer.npy")
    assert_refused(capsys, "7.png", "--embeddings", "fewer.npy")


def test_refuses_splits_that_do_not_match(folder, capsys):
    alone = ["--captions", "tokens.txt", "--train-list", "train.txt"]
    assert_refused(capsys, "development split", captions=alone)
    (folder / "dev.txt").write_text("0.png\n7.png\n")
    assert_refused(capsys, "7.png")
    both = ["--captions", "tokens.txt", "--dev-captions", "tokens.txt"]
    assert_refused(capsys, "12 images", captions=both)
    (folder / "dev.txt").write_text("0.png\nnone.png\n")
    assert_refused(capsys, "dev.txt: line 2")
    splits = [*karpathy(folder)[:-1], "validation"]
    assert_refused(capsys, "'validation'", captions=splits)


def test_refuses_damaged_caption_files_and_rare_words(folder, capsys):
    flags = coco(folder)
    content = json.loads((folder / "train.json").read_text())
    del content["annotations"][3]["image_id"]
    (folder / "train.json").write_text(json.dumps(content))
    assert_refused(capsys, "train.json: annotation 33", captions=flags)
    assert_refused(capsys, "none.txt", captions=["--captions", "none.txt", *FLICKR8K[2:]])
    assert_refused(capsys, "1000 times", "--min-count", 1000)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *(("--epochs", 0), ("--num-beams", 0), ("--embedding-size", -1), ("--learning-rate", 0)),
        *(("--scheduled-sampling", -0.5), ("--device", "tpu"), ("--device", "cuda:99")),
        ("--encoder", "tinny"),
    ],
)
def test_refuses_values_out_of_range(folder, capsys, flag, value):
    assert_refused(capsys, flag.strip("-"), flag, value)
    assert not (folder / "run").exists()


def test_refuses_a_file_as_output_dir(folder, capsys):
    (folder / "run").write_text("a file")
    assert_refused(capsys, "run")
    assert (folder / "run").read_text() == "a file"
