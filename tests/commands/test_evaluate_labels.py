"""`vl evaluate-labels`: its figures as text and as JSON, its files, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.helpers import coloured_pictures as coloured
from tests.helpers.coloured_pictures import COLOURS, IDS
from tests.helpers.tiny_captioner import Tiny, captioner, embedder, encoder
from tests.helpers.tiny_labeller import units
from vl.__main__ import main
from vl.data.words.label_space import LabelSpace
from vl.data.words.labels import Label
from vl.data.words.vectors import WordVectors
from vl.data.words.wordnet import WordNet
from vl.encoders.table import ENCODERS
from vl.encoders.weights import fingerprint
from vl.labelling.calibration import Calibration
from vl.labelling.labeller import Labeller
from vl.labelling.training import trained_classifier

NAMES = tuple(COLOURS)
SEEN, UNSEEN = NAMES[:5], NAMES[5:]
MODEL = ["--model", "labeller"]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


def labeller(*, calibrated=True, views=("plain",), wordnet=None, ids=False):
    """ConSE of five colours, which knows how the three others look as mixes of these."""
    words = WordVectors(NAMES, units(len(NAMES), seed=5).numpy())
    made = encoder()
    pixels = torch.stack([coloured.picture(name, 70 + s) for name in SEEN for s in range(4)])
    with torch.no_grad():
        images = made(pixels)
    truth = torch.arange(len(SEEN)).repeat_interleave(4)
    conse = trained_classifier(images, truth, torch.from_numpy(words.matrix[:5].copy()), top=3)
    calibration = Calibration(0.2, 0.2, 0.1, units(20, seed=6), units(20, seed=7))
    return Labeller(
        embedder(encoder=made, views=views),
        {"conse": conse},
        LabelSpace(words, wordnet),
        seen=[Label(name, IDS[name] if ids else None) for name in SEEN],
        calibration=calibration if calibrated else None,
    )


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    coloured.folders(tmp_path / "photos", count=3)
    labeller().save(tmp_path / "labeller")
    return tmp_path


def evaluate(*flags, photographs=("photos",), model=MODEL):
    return main(["evaluate-labels", *photographs, *model, *map(str, flags)])


def said(capsys, *flags, **choices):
    """The JSON of an evaluation."""
    capsys.readouterr()
    assert evaluate("--json", *flags, **choices) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, message, *flags, **choices):
    capsys.readouterr()
    assert evaluate(*flags, **choices) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.splitlines()[-1].startswith("vl: error: ")
    assert message in stderr.splitlines()[-1]


def plain_hits(names, candidates, *, seen_penalty=0.0):
    """Shares of photographs of these labels that have theirs among the first 1, 2, 5."""
    model = Labeller.load("labeller")
    places = []
    for name in names:
        for path in sorted((Path("photos") / name).iterdir()):
            vector = model.project(model.embedder([path]).mean(1))[0]
            scores = {}
            for other in candidates:
                word = torch.from_numpy(model.words[other])
                scores[other] = float(F.cosine_similarity(vector, word, dim=0))
                scores[other] -= seen_penalty * (other in SEEN)
            places.append(sum(score >= scores[name] for score in scores.values()))
    return [sum(place <= k for place in places) / len(places) for k in (1, 2, 5)]


def test_the_figures_are_those_of_plain_counting(place, capsys):
    found = {result["name"]: result for result in said(capsys)["results"]}
    for name, expected in {
        "unseen among unseen": plain_hits(UNSEEN, UNSEEN),
        "unseen among all": plain_hits(UNSEEN, NAMES),
        "unseen among all, stacking": plain_hits(UNSEEN, NAMES, seen_penalty=0.1),
        "seen among seen": plain_hits(SEEN, SEEN),
        "seen among all": plain_hits(SEEN, NAMES),
        "seen among all, stacking": plain_hits(SEEN, NAMES, seen_penalty=0.1),
    }.items():
        assert found.pop(name)["hit"][:3] == pytest.approx(expected), name
    assert not found
    assert plain_hits(SEEN, SEEN)[0] == 1
    assert 0 < plain_hits(UNSEEN, UNSEEN)[0] < 1


def test_the_text_says_what_the_json_says(place, capsys):
    record = said(capsys, "--none-of-these", 0.2)
    assert evaluate("--none-of-these", 0.2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == record["signature"]
    assert lines[-1].startswith("conse | 5 labels seen | csls off | vl ")
    for result in record["results"]:
        own = next(n for n, line in enumerate(lines) if line.startswith(f"{result['name']}  "))
        cells = lines[own].removeprefix(result["name"]).split()
        values = [*result["hit"], result["hit_over_classes"][0]]
        figures = [f"{100 * value:.1f}" for value in values]
        assert cells == [str(result["images"]), str(result["candidates"]), *figures]
        chance = [min(1, k / result["candidates"]) for k in result["k"]]
        assert lines[own + 1].split() == ["chance", *(f"{100 * value:.1f}" for value in chance)]
        error = f"probability {100 * result['calibration_error']:.1f}"
        assert lines[own + 2].endswith(error)
    text = "\n".join(lines)
    for how, figures in record["generalised"].items():
        one, other, both = (100 * figures[name] for name in ("seen", "unseen", "harmonic"))
        assert (
            f"generalised, {how}: hit@1 by class, seen {one:.1f}  unseen {other:.1f}  harmonic "
            f"mean {both:.1f}"
        ) in text
    rejection = record["none_of_these"]
    assert f"that get a label {100 * rejection['false_accepts']:.1f}, of one" in text
    assert text.count("none of these, at 20 %:") == 1


def test_embeddings_give_the_same(place, capsys):
    flags = ["--weights", "labeller", "--encoder", "tiny", "--views", "plain"]
    assert main(["embed", "photos", "--out", "photos.npy", *flags]) == 0
    one, other = said(capsys), said(capsys, "--embeddings", "photos.npy")
    for result, again in zip(one["results"], other["results"], strict=True):
        assert result["hit"] == again["hit"]
        assert result["images"] == again["images"]
    (place / "list.txt").write_text("red/0.png\tred\nblack/1.png\tblack\npink/1.png\tpink\n")
    found = said(capsys, "--embeddings", "photos.npy", photographs=["list.txt"])
    assert [result["images"] for result in found["results"]] == [2, 2, 2, 1, 1, 1]


def test_embeddings_that_do_not_fit_are_refused(place, capsys):
    flags = ["--out", "x.npy", "--encoder", "tiny"]
    assert main(["embed", "photos", *flags, "--weights", "labeller", "--views", "flip"]) == 0
    message = (
        "x.npy was made with resize squash and views flip, the labeller wants squash and plain"
    )
    refused(capsys, message, "--embeddings", "x.npy")
    flags[1] = "y.npy"
    flags += ["--views", "plain"]
    assert (
        main(["embed", "photos", *flags, "--weights", "labeller", "--resize", "center-crop"]) == 0
    )
    refused(
        capsys, "y.npy was made with resize center-crop and views plain", "--embeddings", "y.npy"
    )
    captioner(encoder=encoder(1)).save(place / "others")
    flags[1] = "z.npy"
    assert main(["embed", "photos", *flags, "--weights", "others"]) == 0
    message = f"z.npy was made by an encoder {fingerprint(encoder(1))}, these weights are"
    refused(capsys, message, "--embeddings", "z.npy")
    flags[1] = "w.npy"
    assert main(["embed", "photos", *flags, "--weights", "labeller"]) == 0
    coloured.folders(place / "photos", ["red"], count=1, first=9)
    message = "1 of 25 images have no embedding: 'red/9.png'"
    refused(capsys, message, "--embeddings", "w.npy")


def test_the_order_of_views_does_not_matter(place, capsys):
    labeller(views=("flip", "plain")).save(place / "labeller")
    flags = ["--weights", "labeller", "--encoder", "tiny", "--views", "plain", "flip"]
    assert main(["embed", "photos", "--out", "photos.npy", *flags]) == 0
    assert len(said(capsys, "--embeddings", "photos.npy")["results"]) == 6


def test_labels_without_a_vector_are_misses_and_named(place, capsys):
    coloured.folders(place / "photos", ["black"])
    (place / "photos/black").rename(place / "photos/quokka")
    record = said(capsys)
    evaluate("--per-class", "classes.tsv")
    stderr = capsys.readouterr().err
    assert "unseen among unseen: 1 of 3 candidates have no vector: 'quokka'; 4 " in stderr
    result = record["results"][0]
    assert (result["without_vector"], result["images_of_labels_without_vector"]) == (1, 4)
    assert result["hit"][-1] == pytest.approx(6 / 10)
    rows = [line.split("\t") for line in (place / "classes.tsv").read_text().splitlines()]
    quokka = [row for row in rows if row[:2] == ["unseen among unseen", "quokka"]]
    assert quokka == [["unseen among unseen", "quokka", "", "4", *["0.0"] * 5, "no vector"]]


def test_the_figures_of_each_label_are_a_table(place, capsys):
    coloured.folders(place / "photos", ["pink"], count=4, first=3)  # not all count the same
    assert evaluate("--per-class", "classes.tsv", "--labels", f"{', '.join(NAMES)}, zebra") == 0
    head, *rows = [line.split("\t") for line in (place / "classes.tsv").read_text().splitlines()]
    assert head == [
        "group",
        "label",
        "id",
        "images",
        *(f"hit@{k}" for k in (1, 2, 5, 10, 20)),
        "note",
    ]
    assert {len(row) for row in rows} == {len(head)}
    groups = [row[0] for row in rows]
    assert groups.count("seen among seen") == 5
    assert groups.count("unseen among unseen") == 3
    assert groups.count("unseen among all") == 4  # zebra has no photograph and no vector
    (zebra,) = [row for row in rows if row[:2] == ["unseen among all", "zebra"]]
    assert zebra[3:] == ["0", "", "", "", "", "", "no vector"]
    results = said(capsys)["results"]
    assert any(result["hit_over_classes"] != result["hit"] for result in results)
    for result in results:
        own = [float(row[4]) for row in rows if row[0] == result["name"] and row[3] != "0"]
        assert np.mean(own) == pytest.approx(100 * result["hit_over_classes"][0], abs=0.1)


def test_candidates_are_those_of_a_file_each_once(place, capsys):
    (place / "labels.txt").write_text("\n".join([*NAMES, "RED", "Pink ", "", "giraffe"]) + "\n")
    found = said(capsys, "--labels", "labels.txt")
    sizes = {result["name"]: result["candidates"] for result in found["results"]}
    assert (sizes["seen among seen"], sizes["unseen among all"]) == (5, 9)
    assert evaluate("--labels", "labels.txt") == 0
    stderr = capsys.readouterr().err
    assert "2 repeated labels, first 'RED' in line 9" in stderr
    assert "an empty line, first line 11" in stderr
    message = "6 labels of photographs are no candidates: 'black', 'blue', 'cyan', ..."
    refused(capsys, message, "--labels", "red, green")


def test_names_are_found_among_candidates_with_ids(place, capsys):
    """Each label would be its own rival otherwise."""
    labeller(ids=True).save(place / "labeller")
    lines = [f"{name}\t{text}" for text, name in IDS.items()]
    (place / "labels.txt").write_text("\n".join(lines))
    every = [said(capsys), said(capsys, "--labels", "labels.txt")]
    for found in every:
        results = {result["name"]: result for result in found["results"]}
        assert results["seen among seen"]["candidates"] == 5
        assert results["unseen among all"]["candidates"] == 8
        assert results["seen among seen"]["hit"][0] == 1


def test_ids_get_words_from_the_labeller_or_from_a_folder(place, capsys):
    coloured.listed(place / "list.txt", place / "photos")
    message = "list.txt: class 'n00000005': n00000005 is without words; write them behind it"
    refused(capsys, message, photographs=["list.txt"])
    coloured.wordnet(place / "wordnet")
    found = said(capsys, "--wordnet", "wordnet", photographs=["list.txt"])
    assert found["results"][0]["hit"] == said(capsys)["results"][0]["hit"]
    net = WordNet.from_files(place / "wordnet/words.txt", is_a=place / "wordnet/is_a.txt")
    labeller(wordnet=net, ids=True).save(place / "labeller")
    found = said(capsys, photographs=["list.txt"])
    for result in found["results"]:
        assert result["hierarchical_precision"][0] == pytest.approx(result["hit"][0])
    assert evaluate(photographs=["list.txt"]) == 0
    assert capsys.readouterr().out.count("  hierarchical  ") == 6


def test_photographs_that_cannot_be_read_are_said_and_the_rest_is_done(place, capsys):
    (place / "photos/red/0.png").write_text("no photograph")
    assert evaluate("--json") == 1
    stdout, stderr = capsys.readouterr()
    assert sum(result["images"] for result in json.loads(stdout)["results"][:1]) == 9
    assert json.loads(stdout)["results"][3]["images"] == 14
    assert "vl: error: photos/red/0.png: not an image" in stderr
    assert "1 of 24 photographs are left out" in stderr


def test_what_wants_calibration_is_refused_before_the_work(place, capsys):
    labeller(calibrated=False).save(place / "labeller")
    message = "labeller was trained with --development 0: --csls and --none-of-these want a"
    refused(capsys, message, "--csls")
    refused(capsys, message, "--none-of-these", 0.1)
    found = said(capsys)
    assert list(found["generalised"]) == ["plain"]
    assert {result["calibration_error"] for result in found["results"]} == {None}


@pytest.mark.parametrize("rate", ["0", "1", "-0.5", "nan"])
def test_a_rate_that_is_no_share_is_refused(place, capsys, rate):
    refused(capsys, "--none-of-these is", "--none-of-these", rate)


def test_what_is_not_there_is_named(place, capsys):
    refused(capsys, "none: there is no such file", model=["--model", "none"])
    refused(capsys, "no such folder of classes or list", photographs=["none"])
    refused(capsys, "no such file of labels", "--labels", "none.txt")
    refused(capsys, "there is no such file; `vl embed` writes it", "--embeddings", "none.npy")
    (place / "photos/empty").mkdir()
    refused(capsys, "photos: 1 of 9 classes have no image: 'empty'")
    (place / "list.txt").write_text("photos/red/0.png red\n")
    message = "list.txt: line 1: expected an image, a tab and its class"
    refused(capsys, message, photographs=["list.txt"])


def test_csls_is_in_the_signature(place, capsys):
    assert " | csls on | " in said(capsys, "--csls")["signature"]
