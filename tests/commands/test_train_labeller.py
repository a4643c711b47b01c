"""`vl train labeller`: labelled photographs and words to a labeller, and what is refused first."""

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers import coloured_pictures as coloured
from tests.helpers.coloured_pictures import COLOURS, IDS
from tests.helpers.tiny_captioner import Tiny, captioner, encoder
from vl import bundle
from vl.__main__ import main
from vl.commands import train_labeller as train_devise
from vl.data.words.labels import Label
from vl.encoders.table import ENCODERS
from vl.encoders.weights import fingerprint
from vl.labelling.labeller import Labeller
from vl.training.parallel import Processes

ROOT = Path(__file__).resolve().parents[2]
NAMES = tuple(COLOURS)
WORDS = ["--words", "words.txt"]
ENCODER = ["--weights", "weights", "--encoder", "tiny", "--views", "plain"]
QUICK = ["--epochs", "16", "--rate", "0.1", "--loss", "full", "--batch-size", "8"]
ALL = ["--development", "0"]
ASIDE = ["--development", "0.25"]
PHASE_2 = ["--finetune-encoder", "--start", "run/labeller.safetensors", "--epochs", "2"]
PHASE_2 += ["--rate", "0.01", "--encoder-rate", "0.01", "--batch-size", "8"]
PHASE_2 += ["--margin", "0.5"]  # otherwise nothing violates it any more


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with photographs of colours, words, and weights."""
    monkeypatch.chdir(tmp_path)
    coloured.folders(tmp_path / "photos")
    coloured.words(tmp_path / "words.txt")
    coloured.weights(tmp_path / "weights")
    return tmp_path


def train(*flags, photographs=("photos",), phase=(*WORDS, *ENCODER, *QUICK)):
    if "conse" in flags and phase[-len(QUICK) :] == tuple(QUICK):
        phase = phase[: -len(QUICK)]  # which are for the map
    return main(["train", "labeller", *map(str, [*photographs, *phase, *flags])])


def trained(*flags, out="run", **choices):
    assert train("--out", out, *flags, **choices) == 0
    return Labeller.load(f"{out}/labeller.safetensors")


def refused(capsys, message, *flags, **choices):
    capsys.readouterr()
    assert train("--out", "run", *flags, **choices) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.splitlines()[-1].startswith("vl: error: ")
    assert message in stderr.splitlines()[-1]


def embed(out="photos.npy", weights="weights", views=("plain", "flip")):
    flags = ["--out", out, "--weights", weights, "--encoder", "tiny", "--views", *views]
    assert main(["embed", "photos", *flags]) == 0


def right(labeller, folder, names=NAMES):
    """Share of photographs in folders that get the folder's label first."""
    found = []
    for name in names:
        answers = labeller(sorted((folder / name).glob("*.png")), labels=names)
        found += [answer.labels[0].text == name for answer in answers]
    return sum(found) / len(found)


@pytest.mark.parametrize("method", ["devise", "conse", "both"])
def test_a_labeller_comes_out_that_knows_what_it_was_shown(place, capsys, method):
    made = trained("--method", method, *ALL)
    stdout, stderr = capsys.readouterr()
    assert stdout == "run/labeller.safetensors\n"
    assert "32 photographs of 8 labels are trained on; 0 of 0 other labels" in stderr
    assert set(made.projections) == ({"devise", "conse"} if method == "both" else {method})
    assert right(made, place / "photos") == 1
    assert made.calibration is None
    assert (made.embedder.views, made.embedder.resize, made.embedder.encoder_name) == (
        ("plain",),
        "center-crop",
        "tiny",
    )
    assert set(made.seen) == {Label(name, None) for name in NAMES}
    assert (made.training["photographs"], made.training["labels"]) == (32, 8)
    assert made.training["settings"]["method"] == method


@pytest.mark.parametrize("loss", ["full", "first"])
@pytest.mark.parametrize("optimizer", ["adagrad", "adam"])
def test_each_loss_and_optimiser_learns(place, loss, optimizer):
    rate = 0.2 if optimizer == "adagrad" else 0.05
    flags = ["--loss", loss, "--optimizer", optimizer, "--rate", rate, "--epochs", 20]
    made = trained(*ALL, phase=[*WORDS, *ENCODER, "--batch-size", "8", *map(str, flags)])
    assert right(made, place / "photos") == 1


def test_conse_by_the_encoder_s_own_classifier(place, capsys):
    known, other = NAMES[:5], NAMES[5:]
    (place / "classes.txt").write_text("\n".join(known) + "\n")
    made = trained("--method", "conse", "--classes", "classes.txt", *ALL)
    assert "ConSE knows 5 of the 8 labels trained on" in capsys.readouterr().err
    assert made.projections["conse"].words.shape == (5, coloured.WIDTH)
    assert right(made, place / "photos", known) == 1
    assert not set(known) & set(other)


def test_classes_must_be_those_of_the_classifier(place, capsys):
    flags = ["--method", "conse", "--classes", "classes.txt", *ALL]
    classes = place / "classes.txt"
    classes.write_text("red\ngreen\nblue\nyellow\n")
    refused(capsys, "classes.txt has 4 classes, the encoder's classifier 5", *flags)
    classes.write_text("a\nb\nc\nd\ne\nred\n")
    refused(capsys, "classes.txt has 6 classes, the encoder's classifier 5", *flags)
    classes.write_text("red\ngreen\n\nblue\nyellow\nwhite\n")
    refused(capsys, "each line is a class of the encoder; an empty line is left out", *flags)
    classes.write_text("a\nb\nc\nd\ne\n")
    refused(capsys, "classes.txt: none of the labels trained on is in it", *flags)
    refused(capsys, "--classes is for ConSE", "--classes", "classes.txt", *ALL)


def test_labels_are_put_aside_and_the_labeller_is_calibrated_by_them(place, capsys):
    made = trained(*ASIDE)
    stderr = capsys.readouterr().err
    assert "18 photographs of 6 labels are trained on; 8 of 2 other labels and 6 of the" in stderr
    assert "best of" in stderr
    aside = [name for name in NAMES if Label(name, None) not in made.seen]
    assert len(made.seen) == 6
    assert len(aside) == 2
    references = made.calibration.references
    assert len(references) == 8
    paths = [path for name in aside for path in sorted((place / "photos" / name).glob("*"))]
    expected = made.project(made.embedder(paths).mean(1))
    order = [int((expected @ each).argmax()) for each in references]
    assert sorted(order) == list(range(8))
    assert torch.allclose(references, expected[order], atol=1e-5)
    judged = [json.loads(line) for line in (place / "run/log.jsonl").read_text().splitlines()]
    assert {"development/hit@1", "development/hit@20"} <= {key for line in judged for key in line}


def test_the_labeller_has_the_map_that_was_judged_best(place):
    flags = ["--patience", 3, "--margin", 1, "--rate", 0.02, "--epochs", 6]
    made = trained(*ASIDE, *flags).projections["devise"].projection.weight
    lines = [json.loads(line) for line in (place / "run/log.jsonl").read_text().splitlines()]
    scores = [line["validation_score"] for line in lines if "validation_epoch" in line]
    assert scores.index(max(scores)) < len(scores) - 1
    last = torch.load("run/state.pt", weights_only=True)["model"]["devise.projection.weight"]
    assert not torch.equal(made, last)
    best = bundle.read("run/best.safetensors", kind="devise training")
    assert torch.equal(made, best.tensors["model.devise.projection.weight"])


def test_the_same_seed_gives_the_same_file_and_another_another(place):
    for out, seed in (("one", 3), ("two", 3), ("three", 4)):
        trained("--method", "both", "--seed", seed, *ASIDE, out=out)
    one, two, three = (
        (place / out / "labeller.safetensors").read_bytes() for out in ("one", "two", "three")
    )
    assert one == two
    assert one != three


def test_the_map_is_the_same_with_conse_and_without(place):
    one, other = (trained("--method", method, *ALL, out=method) for method in ("devise", "both"))
    one, other = (each.projections["devise"].projection.weight for each in (one, other))
    assert torch.equal(one, other)


def test_classes_that_do_not_fit_are_refused_before_the_training(place, capsys):
    (place / "classes.txt").write_text("red\ngreen\n")
    refused(capsys, "has 2 classes", "--method", "both", "--classes", "classes.txt", *ALL)
    assert not (place / "run").exists()


def test_embeddings_spare_the_encoding(place):
    """Of the same photographs; a cache is float16."""
    embed()
    on_photographs = trained("--views", "plain", "flip", *ALL, phase=[*WORDS, *ENCODER[:4], *QUICK])
    cached = trained(
        "--embeddings", "photos.npy", *ALL, phase=[*WORDS, *ENCODER[:4], *QUICK], out="b"
    )
    assert cached.embedder.views == ("plain", "flip")
    one, other = (each.projections["devise"].projection.weight for each in (on_photographs, cached))
    assert right(cached, place / "photos") == 1
    assert torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.99
    (place / "list.txt").write_text("red/0.png\tred\nred/1.png\tred\nblue/0.png\tblue\n")
    flags = ["--embeddings", "photos.npy", *ALL]
    phase = [*WORDS, *ENCODER[:4], *QUICK]
    by_list = trained(*flags, photographs=["list.txt"], phase=phase, out="c")
    assert by_list.training["photographs"] == 3


def test_embeddings_that_do_not_fit_are_refused(place, capsys):
    captioner(encoder=encoder(1)).save(place / "others")
    embed("others.npy", "others")
    phase = [*WORDS, *ENCODER[:4]]
    message = f"others.npy was made by an encoder {fingerprint(encoder(1))}, these weights are"
    refused(capsys, message, "--embeddings", "others.npy", phase=phase)
    embed()
    coloured.folders(place / "photos", ["pink"], count=1, first=7)
    refused(
        capsys,
        "1 of 33 images have no embedding: 'pink/7.png'",
        *["--embeddings", "photos.npy"],
        phase=phase,
    )
    (place / "list.txt").write_text("red/0.png\tred\nred/9.png\tred\nblue/0.png\tblue\n")
    message = "list.txt: 1 images have no embedding: 'red/9.png'"
    flags = ["--embeddings", "photos.npy"]
    refused(capsys, message, *flags, photographs=["list.txt"], phase=phase)
    message = "--views cannot go with --embeddings: they have their own"
    refused(capsys, message, *flags, phase=[*phase, "--views", "plain"])
    refused(capsys, "--resize cannot go", *flags, phase=[*phase, "--resize", "squash"])


def test_held_out_labels_are_never_trained_on_nor_put_aside(place, capsys):
    (place / "held.txt").write_text("RED\nlemon, yellow\npurple\n")
    made = trained("--held-out", "held.txt", *ASIDE[:1], "0.34")
    stderr = capsys.readouterr().err
    assert "held out: 8 photographs of 2 labels; 3 are listed" in stderr
    assert "of 4 labels are trained on; 8 of 2 other labels" in stderr
    assert not made.is_seen("red")
    assert not made.is_seen("yellow")
    vectors = torch.from_numpy(made.space.place(["red", "yellow"]).vectors)
    assert (made.calibration.truths @ vectors.T).max() < 0.999


def test_ids_and_names_of_two_sources_are_one_label_and_held_out_together(place, capsys):
    coloured.wordnet(place / "wordnet")
    coloured.folders(place / "more", count=2, first=50)
    coloured.listed(place / "list.txt", place / "more")
    sources = ["photos", "list.txt"]
    flags = ["--wordnet", "wordnet", "--method", "conse", *ALL]
    made = trained(*flags, photographs=sources)
    assert "48 photographs of 8 labels are trained on" in capsys.readouterr().err
    assert set(made.seen) == {Label(name, IDS[name]) for name in NAMES}
    for held in (f"{IDS['red']}\n", "red\n", f"{IDS['red']} rot\nblue\n"):
        (place / "held.txt").write_text(held)
        out = f"run{len(held)}"
        made = trained(*flags, "--held-out", "held.txt", photographs=sources, out=out)
        assert not made.is_seen("red", IDS["red"])
        count = 1 + held.count("blue")
        assert len(made.seen) == 8 - count
        assert made.training["photographs"] == 48 - 6 * count


def test_ids_want_wordnet_and_the_first_is_named(place, capsys):
    coloured.listed(place / "list.txt", place / "photos")
    message = "list.txt: class 'n00000005': n00000005 is without words; write them behind it, or"
    refused(capsys, message, photographs=["list.txt"])


def test_labels_without_a_vector_are_counted_and_said(place, capsys):
    coloured.words(place / "fewer.txt", NAMES[:6])
    made = trained(*ALL, phase=["--words", "fewer.txt", *ENCODER, *QUICK])
    stderr = capsys.readouterr().err
    assert "no vector: cyan" in stderr
    assert "no vector: pink" in stderr
    assert "24 photographs of 6 labels are trained on" in stderr
    assert "8 are of labels without a vector" in stderr
    assert {label.text for label in made.seen} == set(NAMES[:6])


def test_photographs_that_cannot_be_read_are_said_and_left_out(place, capsys):
    (place / "photos/red/0.png").write_text("no photograph")
    for path in (place / "photos/blue").iterdir():
        path.write_bytes(b"")
    made = trained(*ASIDE)
    stderr = capsys.readouterr().err
    assert "vl: error: photos/red/0.png: not an image" in stderr
    assert "5 of 32 photographs are left out" in stderr
    assert "no photograph of label 'blue' is left" in stderr
    assert len(made.seen) == 5
    assert not made.is_seen("blue")
    assert len(made.calibration.references) in (7, 8)


def test_no_photograph_can_be_read(place, capsys):
    for path in (place / "photos").rglob("*.png"):
        path.write_bytes(b"no photograph")
    refused(capsys, "none of 32 photographs can be read")


def test_too_few_labels_are_refused(place, capsys):
    message = "8 labels with photographs and vectors are too few: at least 2 are trained on and 7"
    refused(capsys, message, "--development", 0.9)
    coloured.words(place / "one.txt", NAMES[:1])
    phase = ["--words", "one.txt", *ENCODER]
    refused(capsys, "1 labels with photographs and vectors are too few", *ALL, phase=phase)
    coloured.words(place / "none.txt", ["qqq", "zzz"])
    refused(capsys, "none of 8 labels has a word vector", phase=["--words", "none.txt", *ENCODER])


@pytest.mark.parametrize("count", [1, 3])
def test_two_labels_of_few_photographs_are_enough(place, count):
    coloured.folders(place / "two", NAMES[:2], count=count)
    made = trained("--method", "both", *ALL, photographs=["two"])
    assert right(made, place / "two", NAMES[:2]) == 1


def test_phase_2_changes_encoder_and_map(place, capsys):
    one = trained(*ASIDE)
    other = trained(*PHASE_2, *ASIDE, phase=[], out="tuned")
    assert (other.embedder.views, other.embedder.resize, other.seen) == (
        one.embedder.views,
        one.embedder.resize,
        one.seen,
    )
    before, after = one.embedder.encoder.state_dict(), other.embedder.encoder.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"body.0.weight", "body.0.bias", "body.2.weight", "body.2.bias"}
    before, after = (each.projections["devise"].state_dict() for each in (one, other))
    assert torch.equal(before["image_mean"], after["image_mean"])
    assert not torch.equal(before["projection.weight"], after["projection.weight"])
    assert len(other.calibration.references) == 8
    aside = [name for name in NAMES if Label(name, None) not in other.seen]
    paths = [path for name in aside for path in sorted((place / "photos" / name).glob("*"))]
    again = other.project(other.embedder(paths).mean(1))  # by the encoder as it is in the end
    nearest = (other.calibration.references @ again.T).max(1).values
    assert nearest.min() > 1 - 1e-5
    held = bundle.read("tuned/labeller.safetensors", kind="labeller")
    assert held.configuration["embedder"]["encoder"]["fingerprint"] == fingerprint(
        other.embedder.encoder
    )


def test_phase_2_refuses_what_belongs_to_phase_1(place, capsys):
    refused(capsys, "phase 2 (--finetune-encoder) begins with", "--finetune-encoder")
    refused(capsys, "begins with the labeller of phase 1, and only it does", "--start", "x")
    trained(*ASIDE, out="first")
    start = ["--finetune-encoder", "--start", "first/labeller.safetensors", *ASIDE]
    message = "--words, --weights, --encoder, --views cannot go with --start: the labeller has its"
    refused(capsys, message, phase=[*start, *WORDS, *ENCODER])
    for flags in (["--centre"], ["--shown", "raw"], ["--random-words"], ["--method", "both"]):
        refused(capsys, f"{flags[0]} cannot go with --start", phase=[*start, *flags])


def test_phase_2_puts_no_label_aside_that_phase_1_was_trained_on(place, capsys):
    trained(*ASIDE, out="first")
    start = ["--finetune-encoder", "--start", "first/labeller.safetensors", "--epochs", "1"]
    message = "labels would be put aside that phase 1 was trained on, the first "
    refused(capsys, message, phase=[*start, *ASIDE, "--seed", "1"])
    made = trained(*start, *ALL, photographs=["photos"], phase=[])
    assert len(made.seen) == 8


def test_labels_of_phase_1_stay_seen_where_phase_2_has_no_photograph_of_them(place):
    trained(*ALL)
    coloured.folders(place / "some", NAMES[:3])
    made = trained(*PHASE_2, *ALL, photographs=["some"], phase=[], out="tuned")
    assert {label.text for label in made.seen} == set(NAMES)


def test_phase_2_wants_a_map_and_leaves_conse_out(place, capsys):
    trained("--method", "conse", *ALL, out="conse")
    start = ["--finetune-encoder", "--start", "conse/labeller.safetensors", *ALL]
    refused(capsys, "conse/labeller.safetensors was made with --method conse", phase=start)
    trained("--method", "both", *ALL)
    made = trained(*PHASE_2, *ALL, phase=[], out="tuned")
    assert "ConSE's part of run/labeller.safetensors is left out" in capsys.readouterr().err
    assert set(made.projections) == {"devise"}


def test_a_labeller_lends_its_encoder(place):
    one = trained(*ALL)
    phase = [*WORDS, "--weights", "run/labeller.safetensors", "--encoder", "tiny", *QUICK]
    other = trained(*ALL, phase=[*phase, "--views", "plain"], out="other")
    assert fingerprint(one.embedder.encoder) == fingerprint(other.embedder.encoder)


def test_conse_does_not_write_over_a_labeller_and_has_nothing_to_resume(place, capsys):
    trained(*ALL)
    before = (place / "run/labeller.safetensors").read_bytes()
    refused(capsys, "run holds a labeller already; choose another", "--method", "conse", *ALL)
    refused(capsys, "--resume is for --method devise", "--method", "conse", "--resume", *ALL)
    refused(capsys, "run already contains a run", *ALL)
    assert (place / "run/labeller.safetensors").read_bytes() == before


def test_a_finished_run_resumed_gives_the_same_file(place):
    trained(*ASIDE)
    before = (place / "run/labeller.safetensors").read_bytes()
    (place / "run/labeller.safetensors").unlink()
    trained(*ASIDE, "--resume")
    assert (place / "run/labeller.safetensors").read_bytes() == before


def test_the_space_is_as_the_flags_say(place):
    coloured.wordnet(place / "wordnet")
    made = trained("--wordnet", "wordnet", "--kinds", 0.5, "--centre", *ALL)
    assert made.space.kinds == 0.5
    assert made.space.wordnet is not None
    assert made.space.mean is not None
    assert right(made, place / "photos") == 1
    limited = trained("--limit-words", 4, *ALL, out="limited")
    assert limited.words.words == NAMES[:4]
    drawn = trained("--random-words", *ALL, out="drawn")
    assert drawn.words.words == NAMES
    assert right(drawn, place / "photos") == 1
    cosines = drawn.words.matrix @ made.words.matrix.T
    assert cosines.diagonal().max() < 0.99


def test_a_label_that_is_the_centre_is_named(place, capsys):
    text = (place / "words.txt").read_text().splitlines()
    first = text[1].split(" ", 1)[1]
    lines = [text[0], *(f"{line.split(' ')[0]} {first}" for line in text[1:])]
    (place / "words.txt").write_text("\n".join(lines) + "\n")
    message = "label 'black' lies at the centre of the labels trained on: without --centre it"
    refused(capsys, message, "--centre", *ALL)


def test_files_that_are_not_whole_are_refused(place, capsys):
    text = (place / "words.txt").read_text()
    (place / "words.txt").write_text(text[: len(text) // 2])
    refused(capsys, "words.txt", *ALL)
    refused(capsys, "none.txt", *ALL, phase=["--words", "none.txt", *ENCODER])
    (place / "words.txt").write_text(text)
    (place / "list.txt").write_text("photos/red/0.png\tred\nphotos/blue/0.png blue\n")
    message = "list.txt: line 2: expected an image, a tab and its class"
    refused(capsys, message, photographs=["list.txt"])
    coloured.folders(place / "again", NAMES[:1])
    refused(capsys, "again: 'red/0.png' is in photos already", photographs=["photos", "again"])
    (place / "photos/empty").mkdir()
    refused(capsys, "photos: 1 of 9 classes have no image: 'empty'")
    refused(capsys, "no such folder of classes or list", photographs=["none"])


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--epochs", 0, "--epochs is 0; it must be at least 1"),
        ("--batch-size", 0, "--batch-size is 0; it must be at least 1"),
        ("--patience", -1, "--patience is -1; it must be at least 1"),
        ("--top", 0, "--top is 0; it must be at least 1"),
        ("--rate", 0, "--rate is 0.0; it must be more than 0"),
        ("--rate", "nan", "--rate is nan; it must be more than 0"),
        ("--encoder-rate", "inf", "--encoder-rate is inf; it must be more than 0"),
        ("--margin", -0.1, "--margin is -0.1; it must be at least 0"),
        ("--weight-decay", -1, "--weight-decay is -1.0; it must be at least 0"),
        ("--seed", -1, "--seed is -1; it must be at least 0"),
        ("--development", 1, "--development is 1.0; it must be at least 0"),
        ("--kinds", 0.5, "--kinds wants --wordnet"),
        ("--limit-words", 0, "the limit is 0 words; it must be at least 1"),
        ("--device", "tpu", "device is 'tpu'; it must be auto, cpu, cuda"),
        ("--encoder", "tinny", "no encoder 'tinny'; close to it are tiny"),
        ("--held-out", "none.txt", "none.txt: No such file"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(place, capsys, flag, value, message):
    refused(capsys, message, flag, value)
    assert not (place / "run/labeller.safetensors").exists()


def test_phase_1_wants_words(place, capsys):
    refused(capsys, "--words wants a file of word vectors; `vl train words` makes", phase=ENCODER)


def in_process(place, *flags, die_at=None, processes=1):
    """The same command in a process of its own, or in several."""
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    command += ["tests.processes.labeller_run", *(["--die-at", str(die_at)] if die_at else [])]
    command += [str(place / "photos"), "--words", str(place / "words.txt"), "--encoder", "tiny"]
    command += ["--weights", str(place / "weights"), "--views", "plain", *QUICK, *flags]
    return subprocess.run(command, cwd=ROOT, timeout=120, check=False, capture_output=True)


@pytest.mark.slow
def test_a_run_that_was_killed_ends_with_the_same_file(place):
    """In the third of the epochs of three batches, and again after a resume."""
    flags = [*ASIDE, "--loss", "first", "--epochs", "5", "--rate", "0.02"]
    assert in_process(place, "--out", str(place / "whole"), *flags).returncode == 0
    killed = ["--out", str(place / "killed"), *flags]
    assert in_process(place, *killed, die_at=8).returncode == -9
    assert in_process(place, *killed, "--resume", die_at=2).returncode == -9
    assert not (place / "killed/labeller.safetensors").exists()
    assert in_process(place, *killed, "--resume").returncode == 0
    one, other = (place / name / "labeller.safetensors" for name in ("whole", "killed"))
    assert one.read_bytes() == other.read_bytes()


def test_each_process_takes_its_share_of_a_batch(place, capsys, monkeypatch):
    shares = []

    def stopped(source, labels, **choices):
        shares.append((choices["rank"], choices["processes"]))
        raise ValueError("stopped")

    monkeypatch.setattr(train_devise, "joined", lambda device: nullcontext(Processes(1, 3)))
    monkeypatch.setattr(train_devise, "LabelledBatches", stopped)
    refused(capsys, "stopped", *ALL)
    assert shares == [(1, 3)]


@pytest.mark.slow
def test_two_processes_have_the_loss_of_one(place):
    for out, processes in (("one", 1), ("two", 2)):
        flags = ["--out", str(place / out), *ASIDE, "--patience", "99", "--rate", "0.02"]
        assert in_process(place, *flags, processes=processes).returncode == 0
    one, two = (
        [json.loads(line) for line in (place / out / "log.jsonl").read_text().splitlines()]
        for out in ("one", "two")
    )
    assert len(one) == len(two) > 20
    for each, other in zip(one, two, strict=True):
        assert each.keys() == other.keys()
        assert each.get("loss", 0) == pytest.approx(other.get("loss", 0), abs=1e-4)
    made, shared = (Labeller.load(place / out / "labeller.safetensors") for out in ("one", "two"))
    assert torch.allclose(
        made.projections["devise"].projection.weight,
        shared.projections["devise"].projection.weight,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--method", "conse", "--margin", "0.2"), "--margin cannot go with --method conse"),
        (
            ("--method", "conse", "--epochs", "3", "--loss", "full"),
            "--loss, --epochs cannot go with --method conse, which trains no map",
        ),
        (("--top", "3"), "--top is for ConSE"),
        (("--encoder-rate", "0.1"), "--encoder-rate is for phase 2"),
    ],
)
def test_flags_of_another_method_are_refused(place, capsys, flags, message):
    refused(capsys, message, *flags, *ALL)


def test_what_is_trained_on_is_what_the_file_holds(place):
    made = trained("--method", "conse", *ALL)
    labels = [label.text for label in made.seen]
    held = made.space.place(labels).vectors
    np.testing.assert_array_equal(made.projections["conse"].words.numpy(), held)


def test_a_folder_that_is_taken_is_refused_before_anything_is_read(place, capsys):
    (place / "run").mkdir()
    (place / "run/state.pt").write_bytes(b"")
    (place / "words.txt").unlink()
    refused(capsys, "run already contains a run", *ALL)
