"""`vl evaluate` from end to end, against coco-caption's BLEU on the same words."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pycocoevalcap.bleu.bleu import Bleu

from data.tokens import words
from vl import __version__
from vl.__main__ import main

PEOPLE = {
    11: ["A brown dog runs on the grass.", "The dog is running outside.", "a dog, on grass"],
    7: ["Two men ride horses along a beach.", "Men on horses by the sea", "Horses and riders."],
    23: ["A child's red ball lies on the floor.", "A ball.", "There is a red ball on a floor"],
    5: ["People wait for a train", "A train station with people waiting.", "Waiting people"],
}
SAID = {
    23: "a red ball lies on the floor .",
    11: "a dog runs on the green grass",
    5: "a train",
    7: "two men ride horses along the sea",
}


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """A captions file as COCO's are."""
    images = [{"id": image, "file_name": f"{image:012}.jpg"} for image in PEOPLE]
    pairs = [(image, caption) for image, captions in PEOPLE.items() for caption in captions]
    annotations = [
        {"id": number, "image_id": image, "caption": caption}
        for number, (image, caption) in enumerate(pairs)
    ]
    path = tmp_path / "references.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}), encoding="utf-8")
    return path


def results(folder: Path, captions: Mapping[Any, str]) -> Path:
    """A results file beside the references."""
    path = folder / "results.json"
    records = [{"image_id": image, "caption": caption} for image, caption in captions.items()]
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def expected(captions: dict[int, str]) -> list[float]:
    """What pycocoevalcap says of the same words."""
    people = {image: [" ".join(words(text)) for text in PEOPLE[image]] for image in captions}
    said = {image: [" ".join(words(caption))] for image, caption in captions.items()}
    scores, _ = Bleu(4).compute_score(people, said, verbose=0)
    return list(scores)


def test_json_agrees_with_coco_caption(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results(references.parent, SAID)
    assert main(["evaluate", str(path), "--references", str(references), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    found = json.loads(out)
    scores = [found[f"BLEU-{size}"] for size in (1, 2, 3, 4)]
    assert scores == pytest.approx(expected(SAID), rel=0, abs=1e-9)
    assert 0.1 < scores[3] < scores[0] < 1
    assert (found["images"], found["left_out"]) == (4, 0)
    signature = f"BLEU-4 {scores[3]:.4f} | refs 3 | tok ptb | closest | vl {__version__}"
    assert found["signature"] == signature


def test_a_pipe_gets_plain_lines(references: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = results(references.parent, SAID)
    assert main(["evaluate", str(path), "--references", str(references)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = [f"BLEU-{size} {score:.4f}" for size, score in enumerate(expected(SAID), 1)]
    assert out.splitlines()[:5] == [*lines, "images 4"]
    assert out.splitlines()[5].startswith(f"{lines[3]} | refs 3 | ")
    assert len(out.splitlines()) == 6


def test_a_terminal_gets_a_table(
    references: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = results(references.parent, SAID)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["evaluate", str(path), "--references", str(references)]) == 0
    out = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)  # without the colours
    rows = [re.findall(r"[\w.-]+", line) for line in out.splitlines()]
    assert ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "images"] in rows
    assert [*(f"{score:.4f}" for score in expected(SAID)), "4"] in rows
    assert out.splitlines()[-1].endswith(f"| refs 3 | tok ptb | closest | vl {__version__}")


def test_a_subset_is_scored_alone_and_the_rest_counted(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = {image: SAID[image] for image in (5, 23)}
    path = results(references.parent, part)
    arguments = ["evaluate", str(path), "--references", str(references), "--json", "--subset"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    scores = [found[f"BLEU-{size}"] for size in (1, 2, 3, 4)]
    assert scores == pytest.approx(expected(part), rel=0, abs=1e-9)
    assert (found["images"], found["left_out"]) == (2, 2)
    assert err == "vl: 2 of 4 images have no result and are left out\n"


def test_captions_without_words_are_counted(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results(references.parent, {**SAID, 5: " . "})
    assert main(["evaluate", str(path), "--references", str(references)]) == 0
    assert capsys.readouterr().err == "vl: warning: 1 of 4 captions have no words\n"


@pytest.mark.parametrize(
    ("captions", "flags", "problem"),
    [
        (
            {11: "a", 5: "a"},
            [],
            "2 images (7, 23) of {references} have no caption here; --subset scores the others",
        ),
        ({}, ["--subset"], "4 images (11, 7, 23, ...) of {references} have no caption here"),
        (
            {**SAID, 1: "a", 2: "a"},
            [],
            "2 images (1, 2) are not among those taken from {references}",
        ),
        (
            {1: "a", 2: "a", 3: "a", 4: "a"},
            ["--subset"],
            "4 images (1, 2, 3, ...) are not among those taken from {references}",
        ),
    ],
)
def test_images_that_do_not_match_are_named(
    captions: dict[int, str],
    flags: list[str],
    problem: str,
    references: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = results(references.parent, captions)
    assert main(["evaluate", str(path), "--references", str(references), *flags]) == 2
    message = problem.format(references=references)
    assert capsys.readouterr() == ("", f"vl: error: {path}: {message}\n")


def karpathy(folder: Path, names: dict[int, str]) -> Path:
    """A captions file as Karpathy's of Flickr8k, which numbers its images."""
    images = [
        {
            "filename": names[image],
            "imgid": image,
            "split": "test",
            "sentences": [{"raw": caption} for caption in captions],
        }
        for image, captions in PEOPLE.items()
    ]
    path = folder / "dataset_flickr8k.json"
    path.write_text(json.dumps({"images": images, "dataset": "flickr8k"}), encoding="utf-8")
    return path


NAMES = {image: f"{image}_photo.jpg" for image in PEOPLE}


def test_an_image_may_go_by_its_files_name(
    tmp_path: Path, references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbered = json.loads(references.read_text())
    coco = {image["id"]: image["file_name"] for image in numbered["images"]}
    for people, names in ((karpathy(tmp_path, NAMES), NAMES), (references, coco)):
        path = results(tmp_path, {names[image]: caption for image, caption in SAID.items()})
        assert main(["evaluate", str(path), "--references", str(people), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        scores = [found[f"BLEU-{size}"] for size in (1, 2, 3, 4)]
        assert scores == pytest.approx(expected(SAID), rel=0, abs=1e-9)


def test_the_folder_of_a_files_name_need_not_be_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = karpathy(tmp_path, {image: f"val2014/{name}" for image, name in NAMES.items()})
    path = results(tmp_path, {NAMES[image]: caption for image, caption in SAID.items()})
    assert main(["evaluate", str(path), "--references", str(people)]) == 0
    assert "images 4" in capsys.readouterr().out


def test_a_name_that_two_images_have_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = karpathy(tmp_path, {**NAMES, 7: NAMES[5]})
    path = results(tmp_path, {NAMES[5]: "a train"})
    assert main(["evaluate", str(path), "--references", str(people), "--subset"]) == 2
    message = f"image '5_photo.jpg': 2 images (7, 5) of {people} have this file name"
    assert capsys.readouterr() == ("", f"vl: error: {path}: {message}\n")


def test_an_image_by_its_name_and_its_number_is_there_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = karpathy(tmp_path, NAMES)
    path = results(tmp_path, {5: "a train", NAMES[5]: "a train"})
    assert main(["evaluate", str(path), "--references", str(people), "--subset"]) == 2
    message = f"image '5_photo.jpg': it is image 5 of {people}, which has a caption already"
    assert capsys.readouterr() == ("", f"vl: error: {path}: {message}\n")
