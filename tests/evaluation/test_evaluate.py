"""Evaluation of files, by the command: formats, mismatches, warnings."""

import gzip
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import vl
from tests.helpers.scored_captions import (
    CANDIDATES,
    REFERENCES,
    coco_caption_scores,
    references_file,
    results_file,
    run_evaluate,
)


@pytest.fixture
def references(tmp_path: Path) -> Path:
    return references_file(tmp_path)


def karpathy(folder: Path, names: dict[int, str]) -> Path:
    """A captions file in Karpathy's format, with image ids."""
    images = [
        {
            "filename": names[image],
            "imgid": image,
            "split": "test",
            "sentences": [{"raw": caption} for caption in captions],
        }
        for image, captions in REFERENCES.items()
    ]
    path = folder / "dataset_flickr8k.json"
    path.write_text(json.dumps({"images": images, "dataset": "flickr8k"}), encoding="utf-8")
    return path


NAMES = {image: f"{image}_photo.jpg" for image in REFERENCES}


def test_results_may_name_image_files(
    tmp_path: Path, references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(references.read_text())
    coco = {image["id"]: image["file_name"] for image in content["images"]}
    in_folder = karpathy(tmp_path, {image: f"val2014/{name}" for image, name in NAMES.items()})
    for annotations, names in ((in_folder, NAMES), (references, coco)):
        path = results_file(
            tmp_path, {names[image]: caption for image, caption in CANDIDATES.items()}
        )
        assert run_evaluate(path, "--references", annotations, "--json") == 0
        content = json.loads(capsys.readouterr().out)
        scores = {name: content[name] for name in coco_caption_scores(CANDIDATES)}
        assert scores == pytest.approx(coco_caption_scores(CANDIDATES), rel=0, abs=1e-9)


def test_subset_reports_missing_and_unmatched_images(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results_file(references.parent, {5: CANDIDATES[5], 99: "a hen", 7: CANDIDATES[7]})
    assert run_evaluate(path, "--references", references, "--subset", "--json") == 0
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert (content["images"], content["missing"], content["unmatched"]) == (2, 2, 1)
    assert err == (
        f"vl: {path}: 2 of 4 images have no result here and are left out\n"
        f"vl: {path}: 1 of 3 results are of other images and are left out\n"
    )


LINES = {
    "candidates.txt": "a dog runs on the grass\ntwo men ride horses\n",
    "one.txt": "A brown dog runs on the grass.\nTwo men ride horses along a beach.\n",
    "two.txt": "The dog is running outside.\n\n",
}


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """A folder of plain text files."""
    for name, text in LINES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_plain_text_is_scored_line_by_line(lines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [lines / "candidates.txt", "--references", lines / "one.txt", lines / "two.txt"]
    assert run_evaluate(*arguments, "--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    content = json.loads(out)
    assert content["references"] == {"min": 1, "max": 2}
    columns = [LINES[name].split("\n")[:2] for name in ("one.txt", "two.txt")]
    expected = vl.evaluate_captions(
        LINES["candidates.txt"].splitlines(),
        [[text for text in texts if text] for texts in zip(*columns, strict=True)],
    )
    assert content == {**expected.to_dict(), "results": str(lines / "candidates.txt")}


def test_plain_text_has_no_images(lines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    candidates, page = lines / "candidates.txt", lines / "page.html"
    flags = ["--html", page, "--image-dir", lines]
    assert run_evaluate(candidates, "--references", lines / "one.txt", *flags) == 2
    message = f"{candidates} names no image files: omit --image-dir"
    assert capsys.readouterr() == ("", f"vl: error: {message}\n")
    assert not page.exists()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_results_may_be_compressed_or_standard_input(
    pack: Callable[[bytes], bytes],
    references: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = results_file(references.parent, CANDIDATES)
    assert run_evaluate(path, "--references", references) == 0
    expected_out = capsys.readouterr()
    content = pack(path.read_bytes())
    path.write_bytes(content)
    packed = references.with_suffix(".json.gz")
    packed.write_bytes(gzip.compress(references.read_bytes()))
    assert run_evaluate(path, "--references", packed) == 0
    assert capsys.readouterr() == expected_out
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert run_evaluate("-", "--references", packed) == 0
    assert capsys.readouterr() == expected_out


def test_a_warning_for_cider_of_a_single_image(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = references.parent
    path, saved = results_file(folder, {5: CANDIDATES[5]}), folder / "saved.json"
    arguments = [path, "--references", references, "--subset"]
    left_out = f"vl: {path}: 3 of 4 images have no result here and are left out\n"
    assert run_evaluate(*arguments, "--save-document-frequencies", saved) == 0
    out, err = capsys.readouterr()
    zero = "CIDEr is 0 by construction, as"
    assert err.startswith(f"{left_out}vl: warning: {references}: {zero} image 5 is")
    assert "CIDEr-D 0.00\n" in out  # and no interval
    assert run_evaluate(*arguments, "--document-frequencies", saved, "--metrics", "cider") == 0
    out, err = capsys.readouterr()
    assert out.startswith("CIDEr 0.00")
    assert err.startswith(f"{left_out}vl: warning: {saved}: {zero} these document frequencies")
    saved.write_text(saved.read_text().replace('"num_images": 1', '"num_images": 2'))
    for flags in (["--document-frequencies", saved], ["--metrics", "bleu"]):
        assert run_evaluate(*arguments, *flags) == 0
        assert capsys.readouterr().err == left_out


def test_a_warning_for_references(references: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(references.read_text())
    content["annotations"][4]["caption"] = "men ' s horses"
    references.write_text(json.dumps(content))
    path = results_file(references.parent, CANDIDATES)
    assert run_evaluate(path, "--references", references) == 0
    warning = f"vl: warning: {references}: 1 of 12 captions have a split clitic"
    assert capsys.readouterr().err.startswith(warning)


def test_unmatched_captions_of_the_baseline_are_counted(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results_file(references.parent, CANDIDATES)
    other = results_file(references.parent, {**CANDIDATES, 98: "a hen", 99: "a hen"}, "other.json")
    page = references.parent / "page.html"
    arguments = [path, "--references", references, "--compare-with", other, "--subset", "--json"]
    assert run_evaluate(*arguments, "--html", page) == 0
    out, err = capsys.readouterr()
    assert err == f"vl: {other}: 2 of 6 results are of other images and are left out\n"
    content = json.loads(out)
    assert (content["unmatched"], content["comparison"]["unmatched"]) == (0, 2)
    assert f"2 captions of other images in {other} are left out" in page.read_text()


@pytest.fixture
def pipe() -> Iterator[Callable[[Path], Path]]:
    """A path like that of a shell's <(...): it can be read only once."""
    opened = []

    def pipe(path: Path) -> Path:
        content = path.read_bytes()
        assert len(content) < 60_000  # a pipe holds 64 kB without a reader
        reading, writing = os.pipe()
        opened.append(reading)
        os.write(writing, content)
        os.close(writing)
        return Path(f"/dev/fd/{reading}")

    yield pipe
    for reading in opened:
        os.close(reading)


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="pipes have no paths here")
@pytest.mark.parametrize("file_format", ["coco", "karpathy", "flickr8k"])
def test_all_inputs_may_be_pipes(
    file_format: str,
    references: Path,
    pipe: Callable[[Path], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = references.parent
    annotations, path = references, results_file(folder, CANDIDATES)
    if file_format == "karpathy":
        annotations = karpathy(folder, NAMES)
    elif file_format == "flickr8k":
        annotations = folder / "tokens.txt"
        texts = [(image, *pair) for image in REFERENCES for pair in enumerate(REFERENCES[image])]
        annotations.write_text("".join(f"{NAMES[i]}#{row}\t{text}\n" for i, row, text in texts))
        path = results_file(folder, {NAMES[image]: text for image, text in CANDIDATES.items()})
    training = folder / "train.json"
    entry = {"filename": "t.jpg", "imgid": 1, "sentences": [{"raw": "a train"}]}
    images = [{**entry, "split": "train"}, {**entry, "imgid": 2, "split": "val"}]
    training.write_text(json.dumps({"images": images}))
    flags = ["--json", "--metrics", "bleu", "diversity"]
    arguments = ["--references", annotations, "--train-captions", training]
    assert run_evaluate(path, *arguments, *flags) == 0
    expected = capsys.readouterr()
    arguments = ["--references", pipe(annotations), "--train-captions", pipe(training)]
    piped = pipe(path)
    assert run_evaluate(piped, *arguments, *flags) == 0
    out, err = capsys.readouterr()
    assert (out.replace(str(piped), str(path)), err) == expected


def test_a_folder_instead_of_a_file_is_refused(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = references.parent
    path = results_file(folder, CANDIDATES)
    for files in ((folder, references), (path, folder), (path, references, folder)):
        against = ["--compare-with", *files[2:]] if files[2:] else []
        assert run_evaluate(files[0], "--references", files[1], *against) == 2
        assert capsys.readouterr() == ("", f"vl: error: {folder}: Is a directory\n")
