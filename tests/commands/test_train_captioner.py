"""`vl train captioner`: captions and photographs to a captioner, and all that is refused first."""

import json

import pytest
import torch

from tests.helpers.shapes import draw_shape
from tests.helpers.tiny_captioner import Tiny, captioner, drawings, encoder
from vl.__main__ import main
from vl.captioning.captioner import Captioner
from vl.captioning.training import CaptionerTask
from vl.encoders.table import ENCODERS
from vl.encoders.weights import fingerprint

COUNT, DEV = 12, 3
TRAINING = [f"{n}.png" for n in range(DEV, COUNT)]
DEVELOPMENT = [f"{n}.png" for n in range(DEV)]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


@pytest.fixture
def place(tmp_path, monkeypatch, capsys):
    """A folder with drawings, their captions as Flickr8k has them, embeddings and weights."""
    monkeypatch.chdir(tmp_path)
    paths = drawings(tmp_path / "photos", COUNT)
    captions = [(path.name, draw_shape(seed, side=4).captions) for seed, path in enumerate(paths)]
    lines = [f"{name}#{n}\t{said}" for name, five in captions for n, said in enumerate(five)]
    (tmp_path / "tokens.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "train.txt").write_text("\n".join(TRAINING))
    (tmp_path / "dev.txt").write_text("\n".join(DEVELOPMENT))
    captioner().save(tmp_path / "weights")
    embed("photos", "photos.npy")
    capsys.readouterr()
    return tmp_path


def embed(folder, out, weights="weights"):
    arguments = [
        "--out",
        out,
        "--weights",
        weights,
        "--encoder",
        "tiny",
        "--views",
        "plain",
        "flip",
    ]
    assert main(["embed", folder, *arguments]) == 0


FLICKR8K = ["--captions", "tokens.txt", "--train-images", "train.txt", "--dev-images", "dev.txt"]
SMALL = ["--min-count", "1", "--epochs", "2", "--batch-size", "16", "--warm-up", "2"]
DECODER = ["--width", "8", "--hidden", "8", "--average", "0.9"]
PHASE_1 = ["--embeddings", "photos.npy", "--weights", "weights", "--encoder", "tiny", *DECODER]
PHASE_2 = ["--finetune-encoder", "--photographs", "photos", "--start", "run/captioner.safetensors"]


def train(*flags, captions=FLICKR8K, phase=PHASE_1):
    return main(["train", "captioner", *captions, *SMALL, *phase, *map(str, flags)])


def log_of(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def refused(capsys, message, *flags, **choices):
    capsys.readouterr()
    assert train("--out", "run", *flags, **choices) == 2
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
            "sentences": [{"raw": said} for said in draw_shape(seed, side=4).captions],
        }
        for seed in range(COUNT)
    ]
    (folder / "dataset.json").write_text(json.dumps({"images": images, "dataset": "drawn"}))
    return ["--captions", "dataset.json", "--train-split", "train", "--dev-split", "val"]


def coco(folder):
    for name, seeds in (("dev.json", range(DEV)), ("train.json", range(DEV, COUNT))):
        images = [{"id": seed, "file_name": f"{seed}.png"} for seed in seeds]
        annotations = [
            {"id": 10 * seed + n, "image_id": seed, "caption": said}
            for seed in seeds
            for n, said in enumerate(draw_shape(seed, side=4).captions)
        ]
        content = json.dumps({"images": images, "annotations": annotations})
        (folder / name).write_text(content)
    return ["--captions", "train.json", "--dev-captions", "dev.json"]


def test_a_captioner_comes_out_that_captions(place, capsys):
    assert train("--out", "run") == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == "run/captioner.safetensors\n"
    assert "9 training images, 3 development images" in stderr
    assert "best of 2 epochs" in stderr
    made = Captioner.load("run/captioner.safetensors")
    assert fingerprint(made.embedder.encoder) == fingerprint(encoder())
    assert (made.embedder.views, made.embedder.resize, made.search.beam) == (
        ("plain", "flip"),
        "squash",
        3,
    )
    assert made.training["images"] == 9
    assert made.training["development"].keys() == {"loss", "bleu-1", "bleu-4", "distinct"}
    assert made.training["settings"]["min_count"] == 1
    assert (place / "run" / "state.pt").exists()
    assert list((place / "run" / "tensorboard").iterdir())
    figures = [line for line in log_of(place / "run") if "validation_epoch" in line]
    assert [line["validation_epoch"] for line in figures] == [1, 2]
    assert main(["caption", "photos", "--model", "run/captioner.safetensors"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == COUNT


@pytest.mark.parametrize("kind", [karpathy, coco])
def test_every_kind_of_caption_file_gives_the_same(place, kind):
    assert train("--out", "run") == 0
    assert train("--out", "other", captions=kind(place)) == 0
    one, other = (Captioner.load(f"{name}/captioner.safetensors") for name in ("run", "other"))
    assert one.vocabulary == other.vocabulary
    for name, value in one.decoders[0].state_dict().items():
        assert torch.equal(value, other.decoders[0].state_dict()[name]), name


@pytest.mark.slow
def test_training_learns(place):
    flags = ["--width", 48, "--hidden", 48, "--dropout", 0, "--rate", 0.02, "--patience", 20]
    assert train("--out", "run", "--epochs", 20, *flags) == 0
    losses = [line["loss"] for line in log_of(place / "run") if "learning_rate" in line]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    "flags",
    [
        ["--own-words", "0.9"],
        ["--smoothing", "0.1"],
        ["--weight-decay", "0.5"],
        ["--optimizer", "sgd"],
        ["--schedule", "staircase"],
        ["--clip", "0.001", "--optimizer", "sgd"],
        ["--average", "0"],
        ["--seed", "1"],
        ["--cell", "paper"],
        ["--precision", "bfloat16"],
    ],
)
def test_a_choice_changes_what_comes_out(place, flags):
    plain = ["--dropout", "0"]
    assert train("--out", "run", *plain) == 0
    assert train("--out", "again", *plain) == 0
    assert train("--out", "other", *plain, *flags) == 0
    one, again, other = (
        Captioner.load(f"{name}/captioner.safetensors").decoders[0].image_embedding.weight
        for name in ("run", "again", "other")
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("phase", [1, 2])
def test_a_run_that_was_stopped_and_resumed_ends_as_one_that_was_not(place, monkeypatch, phase):
    flags = ["--dropout", "0.3", "--own-words", "0.3", "--save-seconds", "0", "--epochs", "3"]
    choices = {}
    if phase == 2:
        assert train("--out", "run") == 0
        flags += ["--batch-size", "4"]
        choices = {"phase": PHASE_2}
    assert train("--out", "whole", *flags, **choices) == 0
    calls = 0
    forward = CaptionerTask.forward

    def stopped(self, batch, step):
        nonlocal calls
        calls += self.training
        if calls == 5:  # in the second epoch
            raise KeyboardInterrupt
        return forward(self, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(CaptionerTask, "forward", stopped)
        assert train("--out", "stopped", *flags, **choices) == 130
    assert train("--out", "stopped", *flags, "--resume", **choices) == 0
    one, other = (place / name for name in ("whole", "stopped"))
    assert log_of(one) == log_of(other)
    name = "captioner.safetensors"
    assert (one / name).read_bytes() == (other / name).read_bytes()


def test_a_run_is_not_written_over_and_resumes_only_as_it_was_begun(place, capsys):
    refused(capsys, "there is no run to resume", "--resume")
    assert train("--out", "run") == 0
    before = (place / "run" / "captioner.safetensors").read_bytes()
    refused(capsys, "run already contains a run")
    refused(
        capsys, "started with other settings: rate was 0.001, is 0.5", "--resume", "--rate", 0.5
    )
    assert train("--out", "run", "--resume") == 0
    assert (place / "run" / "captioner.safetensors").read_bytes() == before


@pytest.mark.parametrize("average", [0, 0.9])
def test_phase_2_trains_the_encoder_too(place, capsys, average):
    assert train("--out", "run") == 0
    capsys.readouterr()
    flags = ["--batch-size", "4", "--encoder-rate", "0.01", "--average", average]
    assert train("--out", "tuned", *flags, phase=PHASE_2) == 0
    assert capsys.readouterr().out == "tuned/captioner.safetensors\n"
    one, other = (Captioner.load(f"{name}/captioner.safetensors") for name in ("run", "tuned"))
    assert (
        other.embedder.encoder_name == "tiny"
    )  # the flag says inception_v1, the captioner knows better
    assert (other.embedder.views, other.embedder.resize) == (
        one.embedder.views,
        one.embedder.resize,
    )
    before, after = one.embedder.encoder.state_dict(), other.embedder.encoder.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"body.0.weight", "body.0.bias", "body.2.weight", "body.2.bias"}
    assert fingerprint(one.embedder.encoder) != fingerprint(other.embedder.encoder)
    assert main(["caption", "photos", "--model", "tuned/captioner.safetensors"]) == 0


def test_phase_2_wants_phase_1_or_force(place, capsys):
    bare = ["--finetune-encoder", "--photographs", "photos", "--weights", "weights"]
    bare += ["--encoder", "tiny", *DECODER]
    refused(capsys, "begins with the captioner of phase 1: give it with --start", phase=bare)
    assert not (place / "run").exists()
    assert train("--out", "run", "--force", phase=bare) == 0
    assert Captioner.load("run/captioner.safetensors").embedder.views == ("plain", "flip")


def test_phase_2_refuses_what_does_not_fit(place, capsys):
    refused(capsys, "run/captioner.safetensors: there is no such file", phase=PHASE_2)
    assert train("--out", "first") == 0
    phase = [*PHASE_2[:-1], "first/captioner.safetensors"]
    refused(capsys, "has another vocabulary (", "--min-count", 6, phase=phase)
    refused(capsys, "--finetune-encoder wants --photographs", phase=["--finetune-encoder"])
    (place / "photos" / "0.png").unlink()
    (place / "photos" / "5.png").unlink()
    refused(capsys, "2 photographs are missing, the first photos/5.png", phase=phase)
    drawings(place / "photos", 1)
    (place / "photos" / "5.png").write_text("no photograph")
    refused(capsys, "photos/5.png: not an image", phase=phase)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--width", 8], "--width has"),
        (["--hidden", 8], "--hidden has"),
        (["--cell", "paper"], "--cell has"),
        (["--output", "tied"], "--output has"),
        (["--dropout", 0.5], "--dropout has"),
        (["--shown", "raw"], "--shown has"),
        (["--weights", "weights"], "--weights has"),
        (["--encoder", "tiny"], "--encoder has"),
        (["--resize", "center-crop"], "--resize has"),
        (
            ["--resize", "center-crop", "--width", 8, "--dropout", 0],
            "--width, --dropout and --resize have",
        ),
    ],
)
def test_phase_2_refuses_what_its_captioner_has_said_already(place, capsys, flags, message):
    message += " no effect with --start: the captioner has its own"
    refused(capsys, message, *flags, phase=PHASE_2)


def test_self_critical_training_goes_on_with_the_decoder_alone(place):
    assert train("--out", "run") == 0
    phase = ["--self-critical", "--embeddings", "photos.npy"]
    phase += ["--start", "run/captioner.safetensors"]
    assert train("--out", "tuned", "--batch-size", "4", phase=phase) == 0
    one, other = (Captioner.load(f"{name}/captioner.safetensors") for name in ("run", "tuned"))
    assert fingerprint(one.embedder.encoder) == fingerprint(other.embedder.encoder)
    assert (other.embedder.encoder_name, other.vocabulary) == ("tiny", one.vocabulary)
    before, after = one.decoders[0], other.decoders[0]
    assert torch.equal(before.image_mean, after.image_mean)
    assert not torch.equal(before.output.weight, after.output.weight)


def test_self_critical_training_wants_a_start_and_no_second_phase(place, capsys):
    phase = ["--self-critical", "--embeddings", "photos.npy"]
    refused(capsys, "--self-critical wants --start", phase=phase)
    refused(capsys, "are phases of their own", phase=[*phase, *PHASE_2])
    started = [*phase, "--start", "run/captioner.safetensors"]
    refused(capsys, "--dropout has no effect with --start", "--dropout", 0.1, phase=started)


def test_phase_2_trains_one_decoder(place, capsys):
    for name, seed in (("one", 0), ("other", 1)):
        assert train("--out", name, "--seed", seed) == 0
    models = [f"{name}/captioner.safetensors" for name in ("one", "other")]
    assert main(["caption", "--model", *models, "--save", "both"]) == 0
    refused(capsys, "both has 2 decoders; one can go on", phase=[*PHASE_2[:-1], "both"])


def test_embeddings_of_another_encoder_are_refused(place, capsys):
    captioner(encoder=encoder(1)).save(place / "others")
    embed("photos", "others.npy", "others")
    message = f"others.npy was made by an encoder {fingerprint(encoder(1))}, these weights are"
    refused(capsys, message, "--embeddings", "others.npy")


def test_images_without_an_embedding_are_named(place, capsys):
    (place / "photos" / "7.png").unlink()
    embed("photos", "fewer.npy")
    refused(capsys, "1 of 9 images have no embedding: 7.png", "--embeddings", "fewer.npy")


def test_a_development_split_must_be_given_and_be_another(place, capsys):
    alone = ["--captions", "tokens.txt", "--train-images", "train.txt"]
    refused(capsys, "a development split is wanted, which says when to stop", captions=alone)
    (place / "dev.txt").write_text("0.png\n7.png\n")
    refused(capsys, "1 images are in both training and evaluation: 7.png")
    refused(
        capsys,
        "12 images are in both training and evaluation",
        captions=["--captions", "tokens.txt", "--dev-captions", "tokens.txt"],
    )


def test_caption_files_that_are_not_whole_are_refused(place, capsys):
    flags = coco(place)
    content = json.loads((place / "train.json").read_text())
    del content["annotations"][3]["image_id"]
    (place / "train.json").write_text(json.dumps(content))
    refused(capsys, "train.json: annotation 33: no 'image_id'", captions=flags)
    (place / "dev.txt").write_text("0.png\nnone.png\n")
    refused(capsys, "dev.txt: line 2: 'none.png' has no captions in tokens.txt")
    splits = [*karpathy(place)[:-1], "validation"]
    refused(capsys, "no image is of split 'validation'; the splits there are: tr", captions=splits)
    refused(capsys, "none.txt: No such file", captions=["--captions", "none.txt", *FLICKR8K[2:]])


def test_no_word_is_frequent_enough(place, capsys):
    refused(capsys, "no word is in the training captions 1000 times", "--min-count", 1000)


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--epochs", 0, "--epochs is 0; it must be at least 1"),
        ("--batch-size", -4, "--batch-size is -4; it must be at least 1"),
        ("--patience", 0, "--patience is 0; it must be at least 1"),
        ("--min-count", 0, "--min-count is 0; it must be at least 1"),
        ("--hidden", 0, "--hidden is 0; it must be at least 1"),
        ("--width", -1, "--width is -1; it must be at least 1"),
        ("--rate", 0, "--rate is 0.0; it must be more than 0"),
        ("--rate", "nan", "--rate is nan; it must be more than 0"),
        ("--encoder-rate", -1, "--encoder-rate is -1.0; it must be more than 0"),
        ("--clip", "inf", "--clip is inf; it must be more than 0"),
        ("--stair-epochs", 0, "--stair-epochs is 0.0; it must be more than 0"),
        ("--weight-decay", -0.1, "--weight-decay is -0.1; it must be at least 0"),
        ("--warm-up", -1, "--warm-up is -1; it must be at least 0"),
        ("--save-seconds", -1, "--save-seconds is -1.0; it must be at least 0"),
        ("--dropout", 1.5, "--dropout is 1.5; it must be at least 0"),
        ("--smoothing", 2, "--smoothing is 2.0; it must be at least 0"),
        ("--own-words", -0.5, "--own-words is -0.5; it must be at least 0"),
        ("--average", 1.1, "--average is 1.1; it must be at least 0"),
        ("--beam", 0, "beam is 0; it must be from 1"),
        ("--length-power", -1, "length power is -1.0; it must be from 0"),
        ("--device", "tpu", "device is 'tpu'; it must be auto, cpu, cuda"),
        ("--device", "cuda:99", "device is cuda:99, but"),
        ("--encoder", "tinny", "no encoder 'tinny'; close to it are tiny"),
        ("--start", "weights", "--start belongs to --finetune-encoder and to --self-critical"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(place, capsys, flag, value, message):
    refused(capsys, message, flag, value)
    assert not (place / "run").exists()


def test_phase_1_wants_embeddings(place, capsys):
    refused(capsys, "phase 1 wants --embeddings FILE; `vl embed` makes it", phase=[])


def test_a_folder_that_cannot_be_made_is_one_line(place, capsys):
    (place / "run").write_text("a file")
    refused(capsys, "run")
    assert (place / "run").read_text() == "a file"
