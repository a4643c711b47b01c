"""METEOR and SPICE: the formula by hand and against the jar, and a sentence for every failure.

Where a test is not of METEOR itself, `java` is a short Python program that a test puts on PATH.
"""

import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vl.metrics.meteor_spice import JavaError, meteor, meteor_figure, spice

Java = Callable[[str], None]  # puts a `java` on PATH that is this Python program

CANDIDATES = ["a dog", "a cat sits on the mat"]
REFERENCES = [["two dogs", "a dog"], ["the cat sat on the mat"]]
# What METEOR says of these. Words and function words of both; then, of the same word, the same
# stem, a synonym and a paraphrase, content words and function words of both; chunks; all matches.
STATISTICS = [
    [2, 2, 1, 1] + [1, 1, 1, 1] + [0] * 12 + [1, 2, 2],
    [6, 6, 3, 3] + [2, 2, 2, 2] + [0] * 4 + [1, 1, 0, 0] + [0] * 4 + [1, 5, 5],
]
ANSWERS = "".join(" ".join(f"{number:.1f}" for number in row) + "\n" for row in STATISTICS)


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Java:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(program: str) -> None:
        path = folder / "java"
        path.write_text(f"#!{sys.executable} -IS\nimport os, sys\n{program}\n", encoding="utf-8")
        path.chmod(0o755)

    return put


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of SPICE in a pycocoevalcap that has all that SPICE needs, by name."""
    folder = tmp_path / "site" / "pycocoevalcap" / "spice"
    (folder / "lib").mkdir(parents=True)
    for name in ("spice-1.0.jar", *corenlp(folder)):
        (folder / name).touch()
    monkeypatch.syspath_prepend(tmp_path / "site")
    return folder


def corenlp(folder: Path) -> Iterator[Path]:
    for name in ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar"):
        yield folder / "lib" / name


def spice_java(scores: object, version: str = "11.0.2") -> str:
    """A `java` that tells its version, and writes these scores for SPICE's."""
    return f"""
if "-version" in sys.argv:
    sys.exit(print('openjdk version "{version}" 2019-01-15\\nmore', file=sys.stderr))
print("stdout of SPICE")
source, out = sys.argv[4], sys.argv[sys.argv.index("-out") + 1]
open(os.environ["SEEN"], "w").write(open(source).read())
open(out, "w").write({json.dumps(scores)!r})
"""


def scored(*figures: object) -> list[object]:
    """SPICE's result, last image first."""
    images = [
        {"image_id": number, "scores": {"All": {"pr": 0.1, "re": 0.2, "f": figure}}}
        for number, figure in enumerate(figures)
    ]
    return list(images[::-1])


@pytest.fixture
def told() -> Iterator[Any]:
    """METEOR by pycocoevalcap's own class, whose Java starts here and reads for seconds."""
    from pycocoevalcap.meteor.meteor import Meteor

    scorer = Meteor()
    yield scorer
    scorer.meteor_p.stdout.close()
    scorer.meteor_p.stderr.close()
    if scorer.lock.locked():  # after a failure it would wait for itself
        scorer.lock.release()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="there is no `java` on PATH")
def test_meteor_agrees_with_pycocoevalcap(told: Any, capfd: pytest.CaptureFixture[str]) -> None:
    said = ["dog", "cat", "a", "the", "two", "run", "runs", "running", "sits on", "mat", "big"]
    said += ["large", "red", "ball", "with", "of", ".", "café", "2\u00a01/2", "-lrb-", "don't"]
    draw = np.random.default_rng(0)
    captions = [" ".join(draw.choice(said, draw.integers(1, 9))) for _ in range(60)]
    references = [captions[20 + number : 20 + number + number % 5 + 1] for number in range(20)]
    references += [*REFERENCES, ["a dog", "a cat"], [""], ["a dog"]]
    candidates = [*captions[:20], *CANDIDATES, "", "a||| dog", "dog a"]
    found = meteor(candidates, references)
    for images in (range(25), range(20)):
        corpus, of_images = told.compute_score(
            {image: references[image] for image in images},
            {image: [candidates[image]] for image in images},
        )
        sums = found.statistics[: len(images)].sum(0)
        assert float(found.value(sums)) == pytest.approx(corpus, abs=1e-12)
        assert found.images[: len(images)].tolist() == pytest.approx(of_images, abs=1e-12)
    assert found.images[[20, 22, 23]].tolist() == [1, 0, 0]
    assert abs(found.corpus - found.images.mean()) > 1e-3
    # The chunk of the caption that is its reference word for word does not count.
    assert found.statistics[20:22].tolist() == [[*STATISTICS[0][:20], 0, 2, 2], STATISTICS[1]]
    assert capfd.readouterr().out == ""


def test_meteor_by_hand(java: Java, capfd: pytest.CaptureFixture[str]) -> None:
    java(f"sys.stdin.read(); sys.stdout.write({ANSWERS!r}); print('warning', file=sys.stderr)")
    found = meteor(CANDIDATES, REFERENCES)
    # The first is a reference word for word. The second matches two content words and a synonym,
    # three quarters each, and two function words, a quarter each, all of them in one chunk.
    right = 0.75 * (2 + 0.8) + 0.25 * 2
    second = right / 3 * (1 - 0.6 * (1 / 5) ** 0.2)
    assert found.images.tolist() == pytest.approx([1, second])
    assert found.corpus == pytest.approx((right + 1) / 4 * (1 - 0.6 * (1 / 7) ** 0.2))
    assert (found.name, found.detail) == ("METEOR", "version 1.5")
    assert capfd.readouterr() == ("", "")


def test_a_caption_with_all_words_right_in_the_wrong_order_is_not_whole(java: Java) -> None:
    row = [*STATISTICS[0][:20], 2, 2, 2]
    java(f"sys.stdin.read(); print(*{row})")
    found = meteor(["dog a"], [["a dog"]])
    assert found.statistics.tolist() == [row]
    assert found.corpus == pytest.approx(1 - 0.6 * (2 / 2) ** 0.2)


def test_meteors_formula_by_hand() -> None:
    # Seven words of which three are function words, against nine of which five are.
    words = [7.0, 9.0, 3.0, 5.0]
    stages = [[1.0, 1.0, 1.0, 2.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0], [1.0, 2.0, 0, 0]]
    sums = np.array([*words, *np.concatenate(stages), 3.0, 5.0, 7.0])
    precision = (0.75 * (1 + 0.6 + 0.6) + 0.25 * (1 + 0.8)) / (0.75 * 4 + 0.25 * 3)
    recall = (0.75 * (1 + 0.6 + 2 * 0.6) + 0.25 * (2 + 0.8)) / (0.75 * 4 + 0.25 * 5)
    mean = precision * recall / (0.85 * precision + 0.15 * recall)
    assert float(meteor_figure(sums)) == pytest.approx(mean * (1 - 0.6 * (3 / 6) ** 0.2))


def test_meteors_formula_takes_batches() -> None:
    rows = np.array(STATISTICS, float)
    batch = np.stack([rows, rows[::-1]])
    assert meteor_figure(batch).tolist() == [
        [float(meteor_figure(row)) for row in part] for part in batch
    ]


def test_where_no_word_matches_meteor_is_nought() -> None:
    nothing = np.zeros((3, 23))
    nothing[0, :4] = 3, 4, 1, 1  # words, but not the same
    nothing[1, 1] = 4  # an empty caption
    assert meteor_figure(nothing).tolist() == [0, 0, 0]


def test_what_divides_captions_in_meteors_input_is_taken_out(java: Java, tmp_path: Path) -> None:
    java(
        f"given = sys.stdin.buffer.read(); open({str(tmp_path / 'given')!r}, 'wb').write(given)\n"
        f"sys.stdout.write({ANSWERS!r})"
    )
    meteor(["a ||| dog\r\n", ""], [["two\ndogs", "café"], ["x ||||| y", "z"]])
    given = (tmp_path / "given").read_text(encoding="utf-8")
    assert given == "SCORE ||| two dogs ||| café ||| a   dog  \nSCORE ||| x  || y ||| z ||| \n"


FAILURES = [
    ("sys.exit(3)", "METEOR ended with exit code 3: it did not say why"),
    (
        "sys.exit('Picked up JAVA_TOOL_OPTIONS: -Xint\\n"
        'Exception in thread "main" java.lang.OutOfMemoryError: Java heap space\\n\\tat a.b(c)\')',
        'exit code 1: Exception in thread "main" java.lang.OutOfMemoryError: Java heap space',
    ),
    (
        "sys.exit('Exception in x\\nCaused by: java.io.IOException: no table\\n\\tat a.b(c)')",
        "exit code 1: Caused by: java.io.IOException: no table",
    ),
    (
        "print('Error occurred during initialization of VM\\nCould not reserve 2 GB'); sys.exit(1)",
        "METEOR ended with exit code 1: Could not reserve 2 GB",
    ),
    ("os.kill(os.getpid(), 9)", "METEOR was ended by signal 9"),
    ("os.close(0); sys.exit('Error: no table')", "METEOR ended with exit code 1: Error: no table"),
    ("", "METEOR gave 0 lines for 2 captions"),
    (f"print({ANSWERS!r})", "METEOR gave 3 lines for 2 captions"),
    (
        "print('Error: specify SCORE\\nError: specify SCORE')",
        "METEOR said of caption 1, instead of 23 numbers: Error: specify SCORE",
    ),
    (f"print({ANSWERS!r}[:-5])", "METEOR said of caption 2, instead of 23 numbers: 6.0 6.0"),
    (f"print({ANSWERS.replace('5.0', 'NaN')!r}, end='')", "of caption 2, instead of 23 numbers"),
    ("import time; time.sleep(60)", "METEOR was stopped: not done after 0.5 seconds"),
]


@pytest.mark.parametrize(("program", "message"), FAILURES)
def test_a_failure_of_java_becomes_one_sentence(
    program: str, message: str, java: Java, capfd: pytest.CaptureFixture[str]
) -> None:
    java(program)
    with pytest.raises(JavaError) as failure:
        meteor(CANDIDATES, REFERENCES, most_seconds=0.5 if "sleep" in program else 60)
    assert message in str(failure.value)
    assert "\n" not in str(failure.value)
    assert isinstance(failure.value, OSError)  # of which `vl` prints the message
    assert failure.value.filename is None
    assert capfd.readouterr() == ("", "")


def test_more_captions_than_a_pipe_holds_are_no_trouble_to_a_java_that_reads_none(
    java: Java,
) -> None:
    java("os.close(0); sys.exit('Error: no table')")
    with pytest.raises(JavaError, match="Error: no table"):
        meteor(["a dog"] * 20_000, [["a dog"]] * 20_000)


def test_a_java_that_cannot_be_started_is_named(java: Java, tmp_path: Path) -> None:
    java("")
    (tmp_path / "bin" / "java").write_text("no program")
    with pytest.raises(JavaError, match=r"METEOR could not be started: .*bin/java: Exec format"):
        meteor(CANDIDATES, REFERENCES)


@pytest.mark.parametrize("score", [meteor, spice])
def test_what_is_not_installed_is_named(
    score: Callable[..., object], java: Java, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = score.__name__.upper()
    with pytest.raises(JavaError, match=rf"{name} needs Java, .*apt install default-jre-headless"):
        score(CANDIDATES, REFERENCES)
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    with pytest.raises(JavaError, match=rf"{name} needs pycocoevalcap: pip install 'vl\[java\]'"):
        score(CANDIDATES, REFERENCES)


def test_a_java_by_a_relative_path_is_found(
    java: Java, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java(f"sys.stdin.read(); sys.stdout.write({ANSWERS!r})")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "bin")
    assert len(meteor(CANDIDATES, REFERENCES).images) == 2


def test_a_jar_that_is_not_there_is_named(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "spice-1.0.jar").unlink()
    monkeypatch.setattr(sys, "path", [str(package.parents[1])])
    with pytest.raises(JavaError, match=r"pycocoevalcap is without spice/spice-1\.0\.jar"):
        spice(CANDIDATES, REFERENCES)


@pytest.mark.parametrize("score", [meteor, spice])
def test_wrong_use_is_refused(score: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="2 captions, but references of 1 images"):
        score(CANDIDATES, REFERENCES[:1])
    with pytest.raises(ValueError, match="there is no caption to score"):
        score([], [])
    with pytest.raises(ValueError, match="an image has no reference caption"):
        score(CANDIDATES, [["a dog"], []])
    with pytest.raises(ValueError, match=r"a caption must be a string, not \['a', 'dog'\]"):
        score([["a", "dog"]], [["a dog"]])
    with pytest.raises(ValueError, match="references must be a list, not the string 'a dog'"):
        score(["a dog"], ["a dog"])


@pytest.mark.parametrize("version", ["11.0.2", "1.8.0_242", "14"])
def test_spice_is_the_mean_of_what_java_writes(
    version: str,
    java: Java,
    package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    java(spice_java(scored(0.25, 0), version))
    found = spice(CANDIDATES, REFERENCES)
    assert found.images.tolist() == [0.25, 0]
    assert found.corpus == 0.125
    assert (found.name, found.detail) == ("SPICE", "version 1.0")
    assert json.loads((tmp_path / "seen").read_text()) == [
        {"image_id": 0, "test": CANDIDATES[0], "refs": REFERENCES[0]},
        {"image_id": 1, "test": CANDIDATES[1], "refs": REFERENCES[1]},
    ]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (scored(0.25), "SPICE gave 1 scores for 2 captions"),
        (scored(0.25, 0.5, 0.5), "SPICE gave 3 scores for 2 captions"),
        (scored(0.25, None), "SPICE gave None for caption 2, 'a cat sits on the mat'"),
        (scored(float("nan"), 0.5), "SPICE gave nan for caption 1, 'a dog'"),
        (scored(0.25, "NaN"), "SPICE gave 'NaN' for caption 2"),
        ([{"image_id": 0}], "SPICE wrote no scores that can be read: KeyError('scores')"),
        (7, "SPICE wrote no scores that can be read: TypeError"),
    ],
)
def test_scores_that_are_none_are_refused(
    scores: object,
    message: str,
    java: Java,
    package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    java(spice_java(scores))
    with pytest.raises(JavaError) as failure:
        spice(CANDIDATES, REFERENCES)
    assert message in str(failure.value)


def test_a_spice_that_writes_nothing_is_refused(java: Java, package: Path) -> None:
    java("")
    with pytest.raises(JavaError, match="SPICE wrote no scores that can be read: FileNotFound"):
        spice(CANDIDATES, REFERENCES)


@pytest.mark.parametrize("version", ["15", "17.0.15", "21-ea"])
def test_a_java_that_is_too_new_for_spice_is_refused_before_anything_is_fetched(
    version: str, java: Java, package: Path
) -> None:
    next(corenlp(package)).unlink()
    java(spice_java([], version))
    with pytest.raises(JavaError, match=f"SPICE runs on Java 8 to 14, and `java` is {version}: "):
        spice(CANDIDATES, REFERENCES)


def test_what_spice_fetches_is_announced_and_keeps_stdout_clean(
    java: Java,
    package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    java(spice_java(scored(0.25, 0)))
    for path in corenlp(package):
        path.unlink()
    script = "from pathlib import Path\nif __name__ == '__main__':\n    print('Progress')\n"
    script += "".join(f"    Path({str(path)!r}).touch()\n" for path in corenlp(package))
    (package / "get_stanford_models.py").write_text(script)
    caplog.set_level(logging.INFO, "vl")
    assert spice(CANDIDATES, REFERENCES).corpus == 0.125
    (record,) = caplog.records
    assert "SPICE needs Stanford CoreNLP 3.6.0: fetching several hundred" in record.getMessage()
    assert str(package) in record.getMessage()
    assert spice(CANDIDATES, REFERENCES).corpus == 0.125
    assert len(caplog.records) == 1  # it is there
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "raise OSError('<urlopen error [Errno -2] Name or service not known>')",
            "CoreNLP for SPICE ended with exit code 1: OSError: <urlopen error [Errno -2] Name or",
        ),
        ("import socket\nassert socket.getdefaulttimeout() == 60", "left no stanford-corenlp-3.6"),
        ("import time\ntime.sleep(60)", "CoreNLP for SPICE was stopped: not done after 1 seconds"),
    ],
)
def test_a_fetch_that_fails_becomes_one_sentence(
    script: str, message: str, java: Java, package: Path
) -> None:
    java(spice_java([]))
    for path in corenlp(package):
        path.unlink()
    (package / "get_stanford_models.py").write_text(script)
    with pytest.raises(JavaError) as failure:
        spice(CANDIDATES, REFERENCES, most_seconds=1 if "sleep" in script else 60)
    assert message in str(failure.value)


def test_half_a_fetch_is_not_taken_for_all(java: Java, package: Path) -> None:
    java(spice_java([]))
    program, models = corenlp(package)
    models.unlink()
    with pytest.raises(JavaError, match=rf"fetched in part only: delete {program}"):
        spice(CANDIDATES, REFERENCES)
