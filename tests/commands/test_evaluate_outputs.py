"""What `vl evaluate` writes, and that it finds out before the work whether it can."""

import gzip
import json
import os
from pathlib import Path

import pytest
from PIL import Image
from pycocoevalcap.bleu.bleu import Bleu

from tests.helpers.scored_captions import PEOPLE, SAID, evaluate, references_file, results
from vl.data.captions.ptb.tokens import words


@pytest.fixture
def references(tmp_path: Path) -> Path:
    return references_file(tmp_path)


def test_frequencies_are_saved_and_used(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = references.parent
    saved = folder / "frequencies.json.gz"
    path = results(folder, SAID)
    cider = ["--scores", "cider-d", "--json"]
    assert evaluate(path, "--references", references, *cider, "--save-frequencies", saved) == 0
    value = json.loads(capsys.readouterr().out)["CIDEr-D"]
    assert gzip.decompress(saved.read_bytes()).startswith(b"{")
    assert evaluate(path, "--references", references, *cider, "--frequencies", saved) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["CIDEr-D"] == pytest.approx(value, abs=1e-12)
    assert "df from 4 images" in found["signatures"]["CIDEr-D"]
    alone = results(folder, {5: "people wait for a train"}, "alone.json")
    arguments = [alone, "--references", references, "--subset", *cider, "--frequencies", saved]
    assert evaluate(*arguments) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["CIDEr-D"] > 1
    assert "by construction" not in err


def test_a_line_an_image_is_written_in_the_references_order(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = references.parent
    path, other = results(folder, SAID), results(folder, {**SAID, 5: "x"}, "other.json")
    per_image = folder / "new" / "images.jsonl"
    arguments = [path, "--references", references, "--per-image", per_image]
    assert evaluate(*arguments, "--scores", "bleu", "rouge-l", "--against", other) == 0
    rows = [json.loads(line) for line in per_image.read_text(encoding="utf-8").splitlines()]
    assert [row["image_id"] for row in rows] == list(PEOPLE)
    people, said = PEOPLE[5], SAID[5]
    assert rows[3].keys() == {
        "image_id", "file_name", "caption", "words", "scores", "references", "against"
    }  # fmt: skip
    assert rows[3]["file_name"] == "000000000005.jpg"
    assert (rows[3]["caption"], rows[3]["words"]) == (said, words(said))
    assert rows[3]["references"] == people
    alone, _ = Bleu(4).compute_score(
        {5: [" ".join(words(text)) for text in people]}, {5: [said]}, verbose=0
    )
    scores = rows[3]["scores"]
    assert [scores[f"BLEU-{size}"] for size in (1, 2, 3, 4)] == pytest.approx(alone, abs=1e-9)
    assert set(scores) == {"BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L"}
    assert rows[3]["against"]["caption"] == "x"
    assert rows[3]["against"]["scores"]["ROUGE-L"] == 0


def test_half_a_character_comes_back_as_it_went_in(references: Path) -> None:
    half = "a \ud83d dog"
    path = results(references.parent, {**SAID, 5: half})
    per_image = references.parent / "images.jsonl"
    assert evaluate(path, "--references", references, "--per-image", per_image) == 0
    rows = [json.loads(line) for line in per_image.read_text(encoding="utf-8").splitlines()]
    assert rows[3]["caption"] == half


def test_a_page_shows_photographs_and_says_which_are_not_there(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = references.parent
    (folder / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "pictures" / "000000000005.jpg")
    (folder / "pictures" / "000000000007.jpg").write_text("none")
    path, page = results(folder, SAID), folder / "out" / "page.html"
    arguments = [path, "--references", references, "--html", page]
    assert evaluate(*arguments) == 0
    assert "<img" not in page.read_text()
    assert capsys.readouterr().err == ""
    arguments += ["--photographs", folder / "pictures"]
    missing = "2 photographs are not there, as 0000000000"
    assert evaluate(*arguments, "--sort", "bleu-2") == 0
    assert page.read_text().count('src="../pictures/0000000000') == 2
    assert "<option selected>BLEU-2<" in page.read_text()
    assert capsys.readouterr().err.startswith(f"vl: warning: {folder / 'pictures'}: {missing}")
    assert evaluate(*arguments, "--embed-images") == 0
    assert page.read_text().count('src="data:image/jpeg;base64,') == 1
    warnings = capsys.readouterr().err.splitlines()
    assert missing in warnings[0]
    assert warnings[1].endswith("1 photographs do not decode, as 000000000007.jpg")


@pytest.mark.parametrize(
    ("scores", "sort"),
    [
        ("bleu", "BLEU-4"),
        ("rouge-l bleu", "ROUGE-L"),
        ("bleu cider-d", "CIDEr-D"),
        ("cider", "CIDEr"),
        ("diversity", "order of the references"),
    ],
)
def test_the_page_is_sorted_by_cider_d_or_the_first_score(
    scores: str, sort: str, references: Path
) -> None:
    path, page = results(references.parent, SAID), references.parent / "page.html"
    arguments = [path, "--references", references, "--html", page]
    assert evaluate(*arguments, "--scores", *scores.split()) == 0
    assert f"<option selected>{sort}<" in page.read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--scores", "--scores wants at least one"),
        ("--references", "--references wants a file"),
        ("alone --scores bleu", "--references wants a file; only diversity does without"),
        ("alone --scores diversity --split test", "--split goes with --references, which is not"),
        ("alone --scores diversity --images x", "--images goes with --references"),
        ("alone --scores diversity --subset", "--subset goes with --references"),
        ("alone --scores diversity --save-frequencies x", "--save-frequencies goes with --ref"),
        ("alone --scores diversity --against x", "--against goes with a score besides"),
        ("--scores bleu bleu", "bleu is asked for twice"),
        ("--scores diversity diversity", "diversity is asked for twice"),
        ("--training-captions x", "--training-captions goes with diversity, which is not asked"),
        ("--scores diversity --training-images x", "--training-images goes with --training-capt"),
        ("--scores bleu --frequencies x", "--frequencies goes with cider-d or cider, which is"),
        ("--scores diversity --against x", "--against goes with a score besides diversity"),
        ("--against x --resamples 0", "--against goes with --resamples"),
        ("--photographs .", "--photographs goes with --html"),
        ("--html p.html --embed-images", "--embed-images goes with --photographs"),
        ("--sort bleu-4", "--sort goes with --html"),
        ("--html p.html --sort spice", "--sort is 'spice'; asked for are BLEU-1, BLEU-2, BLEU-3"),
        ("--html p.html --photographs none", "none: a folder of photographs was expected"),
        ("--resamples -1", "--resamples is -1; 0 to 1,000,000 was expected"),
        ("--resamples 100000000000", "--resamples is 100000000000; 0 to 1,000,000 was expected"),
        ("--seed -1", "--seed is -1; 0 or more was expected"),
        ("--confidence 1", "--confidence is 1; between 0 and 1 was expected"),
        ("--confidence nan", "--confidence is nan; between 0 and 1 was expected"),
        ("--against -", "of all files only RESULTS can be standard input, -"),
        ("--html -", "standard output has the scores; name a file instead of -"),
        ("--html results.json", "results.json is read or written already; choose another name"),
        ("--per-image references.json", "references.json is read or written already"),
        ("--html p --per-image ./p", "p is read or written already; choose another name"),
        ("--html results.json/p.html", "results.json/p.html: cannot be written: Not a directory"),
        ("--per-image .", "not a regular file"),
        ("--save-frequencies /proc/x.json", "/proc/x.json: cannot be written"),
    ],
)
def test_flags_that_cannot_be_are_refused_before_the_work(
    flags: str,
    message: str,
    references: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(references.parent)
    path = references.parent / "results.json"
    path.write_text("not read")
    before = references.read_text()
    given, alone = flags.split(), flags.startswith("alone ")
    given = given[1:] if alone else given
    if "--references" not in given and not alone:
        given = ["--references", "references.json", *given]
    assert evaluate("results.json", *given) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"vl: error: {message}") or message in err.splitlines()[0]
    assert "not JSON" not in err
    assert (path.read_text(), references.read_text()) == ("not read", before)
    assert sorted(file.name for file in references.parent.iterdir()) == [
        "references.json",
        "results.json",
    ]


def test_an_error_leaves_no_folder(references: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = results(references.parent, {})
    outputs = ["--html", references.parent / "a" / "b" / "page.html"]
    outputs += ["--per-image", references.parent / "c" / "images.jsonl"]
    assert evaluate(path, "--references", references, *outputs) == 2
    assert "have no caption here" in capsys.readouterr().err
    assert {file.name for file in references.parent.iterdir()} == {path.name, references.name}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only_is_found_before_the_work(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = references.parent / "closed"
    closed.mkdir(mode=0o500)
    page = closed / "new" / "page.html"
    assert evaluate("none.json", "--references", references, "--html", page) == 2
    assert capsys.readouterr().err.startswith(f"vl: error: {page}: cannot be written")


@pytest.mark.parametrize(
    "half", ["a \ud83d dog", "http://x.com/\ud83da", "\ud83d"], ids=["word", "address", "alone"]
)
def test_half_a_character_stops_nothing(
    half: str, references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = references.parent
    content = json.loads(references.read_text())
    for annotation in content["annotations"][:6]:
        annotation["caption"] = f"{half} dog ' s"  # which is warned of, and quoted
    references.write_text(json.dumps(content))
    path = results(folder, dict.fromkeys(SAID, f"{half} dog ' s"))
    outputs = ["--html", folder / "page.html", "--per-image", folder / "images.jsonl"]
    outputs += ["--save-frequencies", folder / "saved.json"]
    arguments = [path, "--references", references, "--against", path, *outputs]
    for more in (["--json"], []):
        assert evaluate(*arguments, "--scores", "bleu", "cider-d", "diversity", *more) == 0
        out, err = capsys.readouterr()
        assert "warning" in err
        (out + err).encode()
    assert evaluate(path, "--references", references, "--frequencies", folder / "saved.json") == 0


def test_an_error_leaves_what_was_written_before(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = references.parent
    path, page, per_image = results(folder, {}), folder / "page.html", folder / "images.jsonl"
    page.write_text("before")
    arguments = [path, "--references", references, "--html", page, "--per-image", per_image]
    assert evaluate(*arguments) == 2
    assert page.read_text() == "before"
    assert not per_image.exists()
