"""`vl evaluate-labels`: its output is the library's results, its files, and what it refuses."""

import json

import pytest
import torch

from tests.helpers import colored_images as coloured
from tests.helpers.colored_images import COLOURS, IDS
from tests.helpers.tiny_captioner import Tiny, embedder, encoder
from tests.helpers.tiny_labeller import units, write_embeddings
from vl.__main__ import main
from vl.data.words.label_space import LabelSpace
from vl.data.words.labels import Label
from vl.data.words.vectors import WordVectors
from vl.data.words.wordnet import WordNet
from vl.decoders.conse import Conse
from vl.encoders.table import ENCODERS
from vl.encoding.softmax_regression import softmax_regression
from vl.labelling.calibration import Calibration
from vl.labelling.evaluation import evaluate_labels
from vl.labelling.labeller import Labeller

NAMES = tuple(COLOURS)
SEEN = NAMES[:5]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


def labeller(*, calibrated=True, views=("plain",), wordnet=None, ids=False):
    """ConSE of five colors, which mixes the three others of these."""
    words = WordVectors(NAMES, units(len(NAMES), seed=5).numpy())
    pixels = torch.stack([coloured.picture(name, 70 + s) for name in SEEN for s in range(4)])
    targets = torch.arange(len(SEEN)).repeat_interleave(4)
    conse = Conse(image_width=Tiny.width, width=words.width, num_labels=len(SEEN), top_k=3)
    with torch.no_grad():
        fit = softmax_regression(encoder()(pixels), targets, classes=len(SEEN), decay=1e-3)
        conse.classifier.weight.copy_(fit.weight)
        conse.classifier.bias.copy_(fit.bias)
        conse.label_vectors.copy_(torch.from_numpy(words.matrix[:5].copy()))
    calibration = Calibration(0.2, 0.2, 0.1, units(20, seed=6), units(20, seed=7))
    return Labeller(
        embedder(views=views),
        {"conse": conse},
        LabelSpace(words, wordnet),
        seen=[Label(name, IDS[name] if ids else None) for name in SEEN],
        calibration=calibration if calibrated else None,
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    coloured.folders(tmp_path / "images", count=3)
    labeller().save(tmp_path / "labeller")
    return tmp_path


def evaluate(*flags, images=("images",), model="labeller"):
    return main(["evaluate-labels", *images, "--model", model, *map(str, flags)])


def results(capsys, *flags, **options):
    """The JSON of an evaluation."""
    capsys.readouterr()
    assert evaluate("--json", *flags, **options) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, word, *flags, **options):
    capsys.readouterr()
    assert evaluate(*flags, **options) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert word in stderr


def test_prints_what_the_library_gives(folder, capsys):
    record = results(capsys)
    evaluation = evaluate_labels([folder / "images"], Labeller.load("labeller"))
    assert record == json.loads(json.dumps(evaluation.to_dict()))
    hits = {result["name"]: result["hit"][0] for result in record["results"]}
    assert hits["seen among seen"] == 1
    assert 0 < hits["unseen among unseen"] < 1


def test_table_and_csls(folder, capsys):
    record = results(capsys, "--none-of-these", 0.2, "--csls")
    assert " | csls on | " in record["signature"]
    assert evaluate("--none-of-these", 0.2, "--csls") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == record["signature"]
    assert lines[-2].startswith("none of these, at 20 %")


def test_embeddings_give_the_same(folder, capsys):
    model = Labeller.load("labeller").embedder
    write_embeddings(folder / "images.npy", folder / "images", model)
    one, other = results(capsys), results(capsys, "--embeddings", "images.npy")
    for result, same in zip(one["results"], other["results"], strict=True):
        assert (result["hit"], result["images"]) == (same["hit"], same["images"])
    (folder / "list.txt").write_text("red/0.png\tred\nblack/1.png\tblack\npink/1.png\tpink\n")
    record = results(capsys, "--embeddings", "images.npy", images=["list.txt"])
    assert [result["images"] for result in record["results"]] == [2, 2, 2, 1, 1, 1]


def test_labels_without_a_vector_are_misses(folder, capsys):
    coloured.folders(folder / "images", ["black"])
    (folder / "images/black").rename(folder / "images/quokka")
    record = results(capsys, "--per-class", "classes.tsv")
    assert evaluate() == 0
    stderr = capsys.readouterr().err
    assert "unseen among unseen: 1 of 3 candidates have no vector: 'quokka'; 4 " in stderr
    result = record["results"][0]
    assert (result["without_vector"], result["images_of_labels_without_vector"]) == (1, 4)
    assert result["hit"][-1] == pytest.approx(6 / 10)
    rows = [line.split("\t") for line in (folder / "classes.tsv").read_text().splitlines()]
    quokka = [row for row in rows if row[:2] == ["unseen among unseen", "quokka"]]
    assert quokka == [["unseen among unseen", "quokka", "", "4", *["0.0"] * 5, "no vector"]]


def test_candidates_of_a_file(folder, capsys):
    (folder / "labels.txt").write_text("\n".join([*NAMES, "RED", "Pink ", "", "giraffe"]) + "\n")
    record = results(capsys, "--labels", "labels.txt")
    counts = {result["name"]: result["candidates"] for result in record["results"]}
    assert (counts["seen among seen"], counts["unseen among all"]) == (5, 9)
    assert evaluate("--labels", "labels.txt") == 0
    assert "candidates: " in capsys.readouterr().err  # what was left out
    refused(capsys, "6 labels of images", "--labels", "red, green")


def test_ids_get_their_words_from_wordnet(folder, capsys):
    coloured.listed(folder / "list.txt", folder / "images")
    refused(capsys, "n00000005 is without words", images=["list.txt"])
    coloured.wordnet(folder / "wordnet")
    record = results(capsys, "--wordnet", "wordnet", images=["list.txt"])
    assert record["results"][0]["hit"] == results(capsys)["results"][0]["hit"]
    labeller(wordnet=WordNet.load(folder / "wordnet"), ids=True).save(folder / "labeller")
    for result in results(capsys, images=["list.txt"])["results"]:
        assert result["hierarchical_precision"][0] == pytest.approx(result["hit"][0])
    assert evaluate(images=["list.txt"]) == 0
    assert capsys.readouterr().out.count("  hierarchical precision  ") == 6


def test_unreadable_images_are_reported_and_the_rest_evaluated(folder, capsys):
    (folder / "images/red/0.png").write_text("no image")
    assert evaluate("--json") == 1
    stdout, stderr = capsys.readouterr()
    images = [result["images"] for result in json.loads(stdout)["results"]]
    assert (images[0], images[3]) == (9, 14)
    assert "vl: error: images/red/0.png" in stderr
    assert "1 of 24" in stderr


def test_uncalibrated_labeller_is_refused(folder, capsys):
    labeller(calibrated=False).save(folder / "labeller")
    refused(capsys, "calibrated", "--csls")
    refused(capsys, "calibrated", "--none-of-these", 0.1)


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--none-of-these", "0"], "--none-of-these is 0"),
        (["--none-of-these", "nan"], "--none-of-these is nan"),
        (["--model", "none"], "none"),
        (["--labels", "none.txt"], "none.txt"),
        (["--embeddings", "none.npy"], "none.npy"),
        (["--wordnet", "none"], "none"),
    ],
)
def test_invalid_arguments_are_refused(folder, capsys, flags, word):
    refused(capsys, word, *flags)
    refused(capsys, "none", images=["none"])
