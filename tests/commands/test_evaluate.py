"""`vl evaluate` end to end, against coco-caption's scores of the same words."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.scored_captions import (
    CANDIDATES,
    coco_caption_scores,
    references_file,
    results_file,
    run_evaluate,
)
from vl.version import __version__


@pytest.fixture
def references(tmp_path: Path) -> Path:
    return references_file(tmp_path)


def test_json_equals_coco_caption(references: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = results_file(references.parent, CANDIDATES)
    assert run_evaluate(path, "--references", references, "--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    content = json.loads(out)
    scores = {name: content[name] for name in coco_caption_scores(CANDIDATES)}
    assert scores == pytest.approx(coco_caption_scores(CANDIDATES), rel=0, abs=1e-9)
    assert 10 < scores["BLEU-4"] < scores["BLEU-1"] < 100
    assert (content["format"], content["scale"]) == ("vl evaluation 2", 100)
    assert (content["images"], content["missing"], content["unmatched"]) == (4, 0, 0)
    assert content["references"] == {"min": 3, "max": 3}
    assert (content["num_resamples"], content["confidence"], content["seed"]) == (1000, 0.95, 0)
    assert content["candidate_length"] == 23  # 7 + 7 + 2 + 7
    assert content["reference_length"] == 24  # 8 + 7 + 2 + 7
    for name, value in scores.items():
        low, high = content["intervals"][name]
        assert low < value < high
    assert content["signatures"] == {
        name: f"{name} {value:.2f} | x 100 | refs 3 | tok ptb | {detail} | vl {__version__}"
        for (name, value), detail in zip(
            scores.items(),
            ("closest",) * 4
            + (
                "beta 1.2",
                "coco-caption's CIDEr | n 4, sigma 6, df from the references | images 4",
            ),
            strict=True,
        )
    }


def test_scores_of_coco_results_equal_coco_caption(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = shared_data / "coco"
    path = coco / "captions_val2014_googlstm_results.json.gz"
    references = coco / "captions_val2017_half.json"
    flags = ["--subset", "--json", "--num-resamples", 0]
    assert run_evaluate(path, "--references", references, *flags) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["images"], content["missing"], content["unmatched"]) == (2500, 0, 38004)
    # pycocoevalcap 1.2 on the same files, with its tokenizer on Java 17.
    theirs = {
        "BLEU-1": 0.6715145577829859,
        "BLEU-2": 0.49364771528182516,
        "BLEU-3": 0.36499464444265894,
        "BLEU-4": 0.27858106024173845,
        "ROUGE-L": 0.5019073256642124,
        "CIDEr-D": 0.8834526286001115,
    }
    ours = {name: content[name] / content["scale"] for name in theirs}
    assert ours == pytest.approx(theirs, rel=0, abs=1e-12)


def test_flags_change_the_intervals(references: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = results_file(references.parent, CANDIDATES)
    arguments = [path, "--references", references, "--metrics", "cider-d"]
    lines = []
    resamples = ["--num-resamples", "10"]
    for more in ([], ["--confidence", "0.5"], resamples, [*resamples, "--seed", "1"]):
        assert run_evaluate(*arguments, *more) == 0
        lines.append(capsys.readouterr().out.splitlines()[0])
    assert len(set(lines)) == 4
    assert run_evaluate(*arguments, "--num-resamples", "0") == 0
    assert capsys.readouterr().out.splitlines()[0] == lines[0].split("  ")[0]


def test_tables_on_a_terminal(
    references: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = results_file(references.parent, CANDIDATES)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    arguments = [path, "--references", references, "--compare-with", path]
    assert run_evaluate(*arguments, "--metrics", "bleu", "diversity") == 0
    out = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)  # without colors
    rows = [re.findall(r"[+\w.-]+", line) for line in out.splitlines()]
    assert ["score", "value", "95", "interval"] in rows
    four = f"{coco_caption_scores(CANDIDATES)['BLEU-4']:.2f}"
    assert next(row[:2] for row in rows if row[:1] == ["BLEU-4"]) == ["BLEU-4", four]
    assert ["images", "4"] in rows
    assert ["distinct", "4"] in rows
    compared = ["BLEU-4", four, four, "+0.00", "+0.00", "+0.00", "1.0000"]
    assert compared in rows
    assert out.splitlines()[-1].endswith(f"| x 100 | refs 3 | tok ptb | closest | vl {__version__}")


def test_two_systems_are_compared(references: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = references.parent
    path = results_file(folder, CANDIDATES)
    worse = dict.fromkeys(CANDIDATES, "a dog")
    baseline = results_file(folder, worse, "baseline.json")
    arguments = [path, "--references", references, "--compare-with", baseline]
    assert run_evaluate(*arguments, "--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    content = json.loads(out)["comparison"]
    assert content.pop("compare_with") == str(baseline)
    assert content.pop("unmatched") == 0
    assert set(content) == set(coco_caption_scores(CANDIDATES))
    for name, first in coco_caption_scores(CANDIDATES).items():
        second = coco_caption_scores(worse)[name]
        assert content[name]["first"] == pytest.approx(first, abs=1e-9)
        assert content[name]["second"] == pytest.approx(second, abs=1e-9)
        assert content[name]["difference"] == pytest.approx(first - second, abs=1e-9)
        low, high = content[name]["interval"]
        assert low < first - second < high
        # 2 of the 16 permutations of four captions, or a few more.
        assert 0.05 < content[name]["p_value"] < 0.3


def test_several_systems_are_compared_with_the_first(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = references.parent
    systems = {"a.json": dict.fromkeys(CANDIDATES, "a dog"), "b.json": CANDIDATES}
    systems["c.json"] = {**CANDIDATES, 5: "a train station"}
    paths = [results_file(folder, captions, name) for name, captions in systems.items()]
    flags = ["--references", references, "--metrics", "BLEU", "Cider_D", "--confidence", 0.5]
    assert run_evaluate(*paths, *flags, "--format", "json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    content = json.loads(out)
    assert (content["format"], content["scale"]) == ("vl evaluation 2", 100)
    assert content["baseline"] == str(paths[0])
    for system, path, captions in zip(content["systems"], paths, systems.values(), strict=True):
        assert system["results"] == str(path)
        expected = coco_caption_scores(captions)
        for name in ("BLEU-4", "CIDEr-D"):
            assert system[name] == pytest.approx(expected[name], rel=0, abs=1e-9)
            if path != paths[0]:
                assert system["p_holm"][name] >= system["comparison"][name]["p_value"]
    assert "comparison" not in content["systems"][0]
    assert run_evaluate(*paths, *flags) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["system", *systems]
    # Other flags give the same rows: the baseline comes first.
    assert run_evaluate(*paths[1:], *flags, "--compare-with", paths[0]) == 0
    assert capsys.readouterr().out.splitlines() == lines
    for flag, name in (("--html", "page.html"), ("--per-image", "images.jsonl")):
        assert run_evaluate(*paths, *flags, flag, folder / name) == 2
        assert f"{flag} requires a single file of RESULTS" in capsys.readouterr().err
    assert run_evaluate(*flags) == 2
    assert "RESULTS" in capsys.readouterr().err


def test_fractions_are_those_of_coco_caption(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results_file(references.parent, CANDIDATES)
    arguments = [path, "--references", references, "--fraction"]
    assert run_evaluate(*arguments, "--json", "--metrics", "bleu", "cider-d", "diversity") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["scale"] == 1
    for name in ("BLEU-4", "CIDEr-D"):
        assert content[name] == pytest.approx(coco_caption_scores(CANDIDATES)[name] / 100, abs=1e-9)
    assert 0 < content["diversity"]["div_1"] <= 1
    assert run_evaluate(*arguments) == 0
    four = f"{coco_caption_scores(CANDIDATES)['BLEU-4'] / 100:.4f}"
    assert f"BLEU-4 {four}  [0." in capsys.readouterr().out


def test_diversity_with_training_captions(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results_file(references.parent, {**CANDIDATES, 5: "a dog runs on the green grass"})
    training = references.parent / "train.txt"
    training.write_text("A red ball lies on the floor.\nsomething else\n")
    arguments = [path, "--references", references, "--metrics", "diversity"]
    assert run_evaluate(*arguments, "--train-captions", training) == 0
    out, err = capsys.readouterr()
    assert err == ""
    content = dict(line.split(" ", 1) for line in out.splitlines())
    assert content["distinct"] == "3"
    assert content["novel"] == "75.00"
    assert content["most-frequent"] == "2 a dog runs on the green grass"
    assert {"word-types", "Div-1", "Div-2", "self-BLEU-4", "mean-length"} <= set(content)
    assert run_evaluate(*arguments, "--json") == 0
    assert json.loads(capsys.readouterr().out)["diversity"]["novel"] is None


def test_diversity_needs_no_references(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = references.parent
    path = results_file(folder, {**CANDIDATES, "a.jpg": "a train"})
    page, per_image = folder / "page.html", folder / "images.jsonl"
    arguments = [path, "--metrics", "diversity"]
    assert run_evaluate(*arguments, "--html", page, "--per-image", per_image, "--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    content = json.loads(out)
    assert (content["images"], content["diversity"]["distinct"]) == (5, 4)
    assert "references" not in content
    rows = [json.loads(line) for line in per_image.read_text().splitlines()]
    assert [row["image_id"] for row in rows] == [*CANDIDATES, "a.jpg"]
    assert not re.search("<mark>|<ul>|highlighted", page.read_text())
    training = folder / "tokens.txt"
    training.write_text("a.jpg#0\ta train\n")
    assert run_evaluate(*arguments, "--train-captions", training) == 2
    assert "1 images are in both training and evaluation: 'a.jpg'" in capsys.readouterr().err
    assert run_evaluate(results_file(folder, {}), "--metrics", "diversity") == 2
    assert capsys.readouterr().err == f"vl: error: {path}: there are no captions in it\n"


def test_a_caption_of_a_hundred_thousand_words(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results_file(references.parent, {**CANDIDATES, 5: "people wait for a train " * 20_000})
    page = references.parent / "page.html"
    assert run_evaluate(path, "--references", references, "--html", page, "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["candidate_length"] == 100_021
    warning = "1 of 4 captions have over 1,000 words, the longest 100,000: image 5"
    assert err == f"vl: warning: {path}: {warning}\n"
    assert len(page.read_text()) < 30_000


@pytest.mark.parametrize("name", ["results.json", "results.csv"])
def test_torch_is_not_imported(name: str, references: Path) -> None:
    path = results_file(references.parent, CANDIDATES)
    if name.endswith("csv"):
        rows = "".join(f"{image},{caption}\n" for image, caption in CANDIDATES.items())
        path = references.parent / name
        path.write_text(f"image,caption\n{rows}")
    page = references.parent / "page.html"
    program = (
        "import sys; from vl.__main__ import main; code = main(sys.argv[1:]);"
        "print(code, sorted({'torch', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    flags = ["--html", str(page), "--metrics", "bleu", "rouge-l", "cider-d", "diversity"]
    arguments = ["evaluate", str(path), "--references", str(references), *flags]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_training_and_evaluation_images_are_told_apart_by_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results_file(tmp_path, {"street/0001.jpg": "a red bus waits here"})
    references, training = tmp_path / "street.txt", tmp_path / "kitchen.txt"
    references.write_text("street/0001.jpg#0\ta red bus waits here\n")
    arguments = [path, "--references", references, "--metrics", "diversity"]
    arguments += ["--train-captions", training]
    training.write_text("kitchen/0001.jpg#0\ta cup\n")
    assert run_evaluate(*arguments) == 0
    for name in ("street/0001.jpg", "0001.jpg"):
        training.write_text(f"{name}#0\ta cup\n")
        assert run_evaluate(*arguments) == 2
        assert "in both training and evaluation: 'street/0001.jpg'" in capsys.readouterr().err


def test_subset_is_the_images_of_all_three_files(
    references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (
        results_file(
            references.parent,
            {image: text for image, text in CANDIDATES.items() if image != missing},
            f"{missing}.json",
        )
        for missing in (5, 7)
    )
    arguments = [first, "--references", references, "--subset", "--compare-with", second]
    assert run_evaluate(*arguments, "--json", "--num-resamples", 10) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["images"], content["missing"]) == (2, 2)


def test_the_page_may_not_replace_the_standard_output(references: Path) -> None:
    results, log = results_file(references.parent, CANDIDATES), references.parent / "log.html"
    log.write_text("")
    command = [sys.executable, "-m", "vl", "evaluate", results, "--references", references]
    with log.open("a") as out:
        done = subprocess.run(
            [*command, "--html", log], stdout=out, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert "error: standard output goes to" in done.stderr
    assert log.read_text() == ""
