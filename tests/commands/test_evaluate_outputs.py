"""The output files of `vl evaluate`, and invalid flags, which are refused before the work."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image
from pycocoevalcap.bleu.bleu import Bleu

from tests.helpers.scored_captions import (
    CANDIDATES,
    REFERENCES,
    references_file,
    results_file,
    run_evaluate,
)
from vl.data.captions.ptb.tokens import words


@pytest.fixture
def references(tmp_path: Path) -> Path:
    return references_file(tmp_path)


def test_document_frequencies_are_saved_and_used(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = references.parent
    path, saved = results_file(folder, CANDIDATES), folder / "frequencies.json.gz"
    arguments = ["--references", references, "--metrics", "cider-d", "--json"]
    assert run_evaluate(path, *arguments, "--save-document-frequencies", saved) == 0
    value = json.loads(capsys.readouterr().out)["CIDEr-D"]
    arguments += ["--document-frequencies", saved]
    assert run_evaluate(path, *arguments) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["CIDEr-D"] == pytest.approx(value, abs=1e-12)
    assert "df from 4 images" in content["signatures"]["CIDEr-D"]
    alone = results_file(folder, {5: "people wait for a train"}, "alone.json")
    assert run_evaluate(alone, *arguments, "--subset") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["CIDEr-D"] > 100
    assert "by construction" not in err


def test_per_image_lines_are_in_the_references_order(references: Path) -> None:
    folder = references.parent
    path = results_file(folder, CANDIDATES)
    baseline = results_file(folder, {**CANDIDATES, 5: "x"}, "baseline.json")
    per_image = folder / "new" / "images.jsonl"
    arguments = [path, "--references", references, "--per-image", per_image]
    assert run_evaluate(*arguments, "--metrics", "bleu", "--compare-with", baseline) == 0
    rows = [json.loads(line) for line in per_image.read_text(encoding="utf-8").splitlines()]
    assert [row["image_id"] for row in rows] == list(REFERENCES)
    row, references_of_5, caption = rows[3], REFERENCES[5], CANDIDATES[5]
    assert (row["file_name"], row["references"]) == ("000000000005.jpg", references_of_5)
    assert (row["caption"], row["tokens"]) == (caption, words(caption))
    assert row["compare_with"]["caption"] == "x"
    alone, _ = Bleu(4).compute_score(
        {5: [" ".join(words(text)) for text in references_of_5]}, {5: [caption]}, verbose=0
    )
    assert list(row["scores"].values()) == pytest.approx([100 * each for each in alone], abs=1e-9)
    assert row["scale"] == 100


def test_the_page_shows_images_and_missing_ones_are_logged(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = references.parent
    (folder / "images").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "images" / "000000000005.jpg")
    (folder / "images" / "000000000007.jpg").write_text("none")
    path, page = results_file(folder, CANDIDATES), folder / "out" / "page.html"
    arguments = [path, "--references", references, "--html", page]
    assert run_evaluate(*arguments) == 0
    assert "<img" not in page.read_text()
    assert capsys.readouterr().err == ""
    arguments += ["--image-dir", folder / "images"]
    missing = "2 images are missing, such as 0000000000"
    assert run_evaluate(*arguments, "--sort-by", "bleu-2") == 0
    assert page.read_text().count('src="../images/0000000000') == 2
    assert "<option selected>BLEU-2<" in page.read_text()
    assert capsys.readouterr().err.startswith(f"vl: warning: {folder / 'images'}: {missing}")
    assert run_evaluate(*arguments, "--embed-images") == 0
    assert page.read_text().count('src="data:image/jpeg;base64,') == 1
    warnings = capsys.readouterr().err.splitlines()
    assert missing in warnings[0]
    assert warnings[1].endswith("1 images do not decode, such as 000000000007.jpg")


@pytest.mark.parametrize(
    ("metrics", "sort_by"),
    [
        ("bleu", "BLEU-4"),
        ("rouge-l bleu", "ROUGE-L"),
        ("bleu cider-d", "CIDEr-D"),
        ("cider", "CIDEr"),
        ("diversity", "order of the references"),
    ],
)
def test_the_page_is_sorted_by_cider_d_or_the_first_metric(
    metrics: str, sort_by: str, references: Path
) -> None:
    path, page = results_file(references.parent, CANDIDATES), references.parent / "page.html"
    arguments = [path, "--references", references, "--html", page]
    assert run_evaluate(*arguments, "--metrics", *metrics.split()) == 0
    assert f"<option selected>{sort_by}<" in page.read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--metrics", "--metrics"),
        ("--references", "--references needs a file"),
        ("alone --metrics bleu", "--references needs a file"),
        ("alone --metrics diversity --split test", "--split requires --references"),
        ("alone --metrics diversity --save-document-frequencies x.json", "requires --references"),
        ("alone --metrics diversity --compare-with f", "--compare-with requires a metric"),
        ("--metrics diversity diversity", "duplicate metric: diversity"),
        ("--train-captions f", "--train-captions requires --metrics diversity"),
        ("--metrics diversity --train-list f", "--train-list requires --train-captions"),
        ("--metrics bleu --document-frequencies f", "--document-frequencies requires --metrics ci"),
        ("--compare-with f --num-resamples 0", "--compare-with requires --num-resamples"),
        ("--image-dir .", "--image-dir requires --html"),
        ("--html p.html --embed-images", "--embed-images requires --image-dir"),
        ("--sort-by bleu-4", "--sort-by requires --html"),
        ("--html p.html --sort-by spice", "--sort-by is 'spice'"),
        ("--html p.html --image-dir none", "none: No such file"),
        ("--html p.html --image-dir f", "f: expected a folder"),
        ("--compare-with none", "none: No such file"),
        ("--num-resamples 100000000000", "at most 1000000"),
        ("--confidence nan", "--confidence is nan"),
        ("--compare-with -", "only RESULTS can be standard input"),
        ("--html -", "-: for an evaluation page the name must end in .html"),
        ("--html results.json", "results.json is read by this command"),
        ("--per-image references.json", "references.json is read by this command"),
        ("--html p.html --per-image ./p.html", "p.html is written already"),
        ("- - --metrics bleu", "only RESULTS can be standard input, -, and once"),
        ("--format csv --json", "--json is not --format csv"),
        ("--metrics blue", "unknown metric 'blue'; expected one of bleu"),
        ("--html results.json/p.html", "results.json/p.html: cannot be written"),
        ("--per-image .", "for scores of each image the name must end in"),
        ("--save-document-frequencies /proc/x.json", "/proc/x.json: cannot be written"),
    ],
)
def test_invalid_flags_are_refused_before_any_file_is_read(
    flags: str,
    message: str,
    references: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(references.parent)
    contents = {"results.json": "not read", "f": "", "references.json": references.read_text()}
    for name in ("results.json", "f"):
        Path(name).write_text(contents[name])
    arguments = flags.removeprefix("alone ").split()
    if "--references" not in arguments and not flags.startswith("alone "):
        arguments = ["--references", "references.json", *arguments]
    assert run_evaluate("results.json", *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err.splitlines()[0]
    assert {path.name: path.read_text() for path in Path().iterdir()} == contents


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_before_the_work(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = references.parent / "closed"
    closed.mkdir(mode=0o500)
    page = closed / "new" / "page.html"
    assert run_evaluate(references, "--references", references, "--html", page) == 2
    assert capsys.readouterr().err.startswith(f"vl: error: {page}: cannot be written")


def test_lone_surrogates_are_evaluated_and_written(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, half = references.parent, "a \ud83d dog at http://x.com/\ud83da"
    content = json.loads(references.read_text())
    for annotation in content["annotations"][:6]:
        annotation["caption"] = f"{half} dog ' s"  # quoted in a warning
    references.write_text(json.dumps(content))
    path = results_file(folder, dict.fromkeys(CANDIDATES, f"{half} dog ' s"))
    outputs = ["--html", folder / "page.html", "--per-image", folder / "images.jsonl"]
    outputs += ["--save-document-frequencies", folder / "saved.json"]
    arguments = [path, "--references", references, "--compare-with", path, *outputs]
    for flags in (["--json"], []):
        assert run_evaluate(*arguments, "--metrics", "bleu", "cider-d", "diversity", *flags) == 0
        out, err = capsys.readouterr()
        assert "warning" in err
        (out + err).encode()
    saved = ["--document-frequencies", folder / "saved.json"]
    assert run_evaluate(path, "--references", references, *saved) == 0


def test_an_error_changes_no_file(references: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = references.parent
    path, page = results_file(folder, {}), folder / "page.html"
    page.write_text(before := '<meta name="generator" content="vl"> before')
    outputs = ["--html", page, "--per-image", folder / "new" / "images.jsonl"]
    assert run_evaluate(path, "--references", references, *outputs) == 2
    assert "have no caption here" in capsys.readouterr().err
    assert page.read_text() == before
    assert {file.name for file in folder.iterdir()} == {path.name, references.name, page.name}
