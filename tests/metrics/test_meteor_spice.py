"""METEOR's formula by hand and against the jar; SPICE; one-line errors for every failure.

Except in the test against the jar, `java` is a short Python program that a test puts on PATH.
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

from vl.metrics.meteor_spice import JavaError, meteor, meteor_value, spice

InstallJava = Callable[[str], None]  # puts a `java` on PATH that is this Python program

CANDIDATES = ["a dog", "a cat sits on the mat"]
REFERENCES = [["two dogs", "a dog"], ["the cat sat on the mat"]]
# METEOR's output for these: words and function words of both; then, for exact, stem, synonym and
# paraphrase matches, content words and function words of both; chunks; all matches.
STATISTICS = [
    [2, 2, 1, 1] + [1, 1, 1, 1] + [0] * 12 + [1, 2, 2],
    [6, 6, 3, 3] + [2, 2, 2, 2] + [0] * 4 + [1, 1, 0, 0] + [0] * 4 + [1, 5, 5],
]
OUTPUT = "".join(" ".join(f"{number:.1f}" for number in row) + "\n" for row in STATISTICS)


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstallJava:
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


def spice_program(scores: object, version: str = "11.0.2") -> str:
    """A `java` that prints its version, and writes these as SPICE's scores."""
    return f"""
if "-version" in sys.argv:
    sys.exit(print('openjdk version "{version}" 2019-01-15\\nmore', file=sys.stderr))
print("stdout of SPICE")
source, out = sys.argv[4], sys.argv[sys.argv.index("-out") + 1]
open(os.path.join(os.path.dirname(__file__), "input"), "w").write(open(source).read())
open(out, "w").write({json.dumps(scores)!r})
"""


def spice_output(*values: object) -> list[object]:
    """SPICE's output, last image first."""
    images = [
        {"image_id": index, "scores": {"All": {"pr": 0.1, "re": 0.2, "f": value}}}
        for index, value in enumerate(values)
    ]
    return list(images[::-1])


@pytest.fixture
def pycocoevalcap_meteor() -> Iterator[Any]:
    """METEOR by pycocoevalcap's own class, whose Java takes seconds to start."""
    from pycocoevalcap.meteor.meteor import Meteor

    scorer = Meteor()
    yield scorer
    scorer.meteor_p.stdout.close()
    scorer.meteor_p.stderr.close()
    if scorer.lock.locked():  # after a failure it would deadlock
        scorer.lock.release()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="there is no `java` on PATH")
def test_meteor_equals_pycocoevalcap(
    pycocoevalcap_meteor: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = "dog cat a the two run runs running mat big large red ball with of ."
    vocabulary = [*plain.split(), "sits on", "café", "2\u00a01/2", "-lrb-", "don't"]
    rng = np.random.default_rng(0)
    captions = [" ".join(rng.choice(vocabulary, rng.integers(1, 9))) for _ in range(60)]
    references = [captions[20 + index : 20 + index + index % 5 + 1] for index in range(20)]
    references += [*REFERENCES, ["a dog", "a cat"], [""], ["a dog"]]
    candidates = [*captions[:20], *CANDIDATES, "", "a||| dog", "dog a"]
    score = meteor(candidates, references)
    for images in (range(25), range(20)):
        corpus, of_images = pycocoevalcap_meteor.compute_score(
            {image: references[image] for image in images},
            {image: [candidates[image]] for image in images},
        )
        sums = score.statistics[: len(images)].sum(0)
        assert float(score.aggregate(sums)) == pytest.approx(corpus, abs=1e-12)
        assert score.per_image[: len(images)].tolist() == pytest.approx(of_images, abs=1e-12)
    assert score.per_image[[20, 22, 23]].tolist() == [1, 0, 0]
    assert abs(score.corpus - score.per_image.mean()) > 1e-3
    # The chunk of a caption that equals its reference does not count.
    assert score.statistics[20:22].tolist() == [[*STATISTICS[0][:20], 0, 2, 2], STATISTICS[1]]
    assert capfd.readouterr().out == ""


def test_meteor_by_hand(java: InstallJava, capfd: pytest.CaptureFixture[str]) -> None:
    java(f"sys.stdin.read(); sys.stdout.write({OUTPUT!r}); print('warning', file=sys.stderr)")
    score = meteor(CANDIDATES, REFERENCES)
    # The first equals a reference. The second matches two content words and a synonym, weighted
    # 0.75, and two function words, weighted 0.25, in one chunk.
    matches = 0.75 * (2 + 0.8) + 0.25 * 2
    second = matches / 3 * (1 - 0.6 * (1 / 5) ** 0.2)
    assert score.per_image.tolist() == pytest.approx([1, second])
    assert score.corpus == pytest.approx((matches + 1) / 4 * (1 - 0.6 * (1 / 7) ** 0.2))
    assert (score.name, score.settings) == ("METEOR", "version 1.5")
    assert capfd.readouterr() == ("", "")


def test_formula_by_hand() -> None:
    # Seven words of which three are function words, against nine of which five are.
    words = [7.0, 9.0, 3.0, 5.0]
    stages = [[1.0, 1.0, 1.0, 2.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0], [1.0, 2.0, 0, 0]]
    sums = np.array([*words, *np.concatenate(stages), 3.0, 5.0, 7.0])
    precision = (0.75 * (1 + 0.6 + 0.6) + 0.25 * (1 + 0.8)) / (0.75 * 4 + 0.25 * 3)
    recall = (0.75 * (1 + 0.6 + 2 * 0.6) + 0.25 * (2 + 0.8)) / (0.75 * 4 + 0.25 * 5)
    mean = precision * recall / (0.85 * precision + 0.15 * recall)
    assert float(meteor_value(sums)) == pytest.approx(mean * (1 - 0.6 * (3 / 6) ** 0.2))


def test_formula_is_zero_where_no_word_matches() -> None:
    sums = np.zeros((4, 23))
    sums[0, :4] = 3, 4, 1, 1  # words, but no matches
    sums[1, 1] = 4  # an empty caption
    sums[3] = [*STATISTICS[0][:20], 2, 2, 2]  # all words match, in the wrong order
    assert meteor_value(sums).tolist() == pytest.approx([0, 0, 0, 1 - 0.6 * (2 / 2) ** 0.2])


def test_separators_of_meteors_input_are_removed_from_captions(
    java: InstallJava, tmp_path: Path
) -> None:
    java(
        f"data = sys.stdin.buffer.read(); open({str(tmp_path / 'stdin')!r}, 'wb').write(data)\n"
        f"sys.stdout.write({OUTPUT!r})"
    )
    meteor(["a ||| dog\r\n", ""], [["two\ndogs", "café"], ["x ||||| y", "z"]])
    stdin = (tmp_path / "stdin").read_text(encoding="utf-8")
    assert stdin == "SCORE ||| two dogs ||| café ||| a   dog  \nSCORE ||| x  || y ||| z ||| \n"


FAILURES = [
    ("sys.exit(3)", "code 3"),
    (
        "sys.exit('Picked up JAVA_TOOL_OPTIONS: -Xint\\n"
        'Exception in thread "main" java.lang.OutOfMemoryError: Java heap space\\n\\tat a.b(c)\')',
        'code 1: Exception in thread "main" java.lang.OutOfMemoryError: Java heap space',
    ),
    (
        "sys.exit('Exception in x\\nCaused by: java.io.IOException: no table\\n\\tat a.b(c)')",
        "code 1: Caused by: java.io.IOException: no table",
    ),
    (
        "print('Error occurred during initialization of VM\\nCould not reserve 2 GB'); sys.exit(1)",
        "code 1: Could not reserve 2 GB",
    ),
    ("os.kill(os.getpid(), 9)", "code -9"),
    ("", "each of 2 captions"),
    (f"print({OUTPUT!r})", "each of 2 captions"),
    ("print('Error: specify SCORE\\nError: specify SCORE')", "Error: specify SCORE"),
    (f"print({OUTPUT!r}[:-5])", "each of 2 captions"),
    (f"print({OUTPUT.replace('5.0', 'NaN')!r}, end='')", "23 finite values"),
    ("import time; time.sleep(60)", "stopped after 0.5 seconds"),
]


@pytest.mark.parametrize(("program", "message"), FAILURES)
def test_a_failure_of_java_is_a_one_line_error(
    program: str, message: str, java: InstallJava, capfd: pytest.CaptureFixture[str]
) -> None:
    java(program)
    with pytest.raises(JavaError) as error:
        meteor(CANDIDATES, REFERENCES, max_seconds=0.5 if "sleep" in program else 60)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert isinstance(error.value, OSError)  # whose message `vl` prints
    assert error.value.filename is None
    assert capfd.readouterr() == ("", "")


def test_a_java_that_does_not_read_its_input_does_not_block(java: InstallJava) -> None:
    java("os.close(0); sys.exit('Error: no table')")
    with pytest.raises(JavaError, match="Error: no table"):
        meteor(["a dog"] * 20_000, [["a dog"]] * 20_000)


def test_a_java_that_cannot_be_started(java: InstallJava, tmp_path: Path) -> None:
    java("")
    (tmp_path / "bin" / "java").write_text("no program")
    with pytest.raises(JavaError, match=r"started: .*bin/java"):
        meteor(CANDIDATES, REFERENCES)


@pytest.mark.parametrize("metric", [meteor, spice])
def test_missing_dependencies_are_named(
    metric: Callable[..., object], java: InstallJava, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = metric.__name__.upper()
    with pytest.raises(JavaError, match=rf"{name} needs Java, .*apt install default-jre-headless"):
        metric(CANDIDATES, REFERENCES)
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    with pytest.raises(JavaError, match=rf"{name} needs pycocoevalcap: pip install 'vl\[java\]'"):
        metric(CANDIDATES, REFERENCES)


def test_java_on_a_relative_path_is_found(
    java: InstallJava, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java(f"sys.stdin.read(); sys.stdout.write({OUTPUT!r})")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "bin")
    assert len(meteor(CANDIDATES, REFERENCES).per_image) == 2


def test_a_missing_jar_is_named(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "spice-1.0.jar").unlink()
    monkeypatch.setattr(sys, "path", [str(package.parents[1])])
    with pytest.raises(JavaError, match=r"spice/spice-1\.0\.jar"):
        spice(CANDIDATES, REFERENCES)


@pytest.mark.parametrize("version", ["11.0.2", "1.8.0_242", "14"])
def test_spice_is_the_mean_of_the_scores_in_its_output(
    version: str,
    java: InstallJava,
    package: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    java(spice_program(spice_output(0.25, 0), version))
    score = spice(CANDIDATES, REFERENCES)
    assert score.per_image.tolist() == [0.25, 0]
    assert score.corpus == 0.125
    assert (score.name, score.settings) == ("SPICE", "version 1.0")
    assert json.loads((tmp_path / "bin" / "input").read_text()) == [
        {"image_id": 0, "test": CANDIDATES[0], "refs": REFERENCES[0]},
        {"image_id": 1, "test": CANDIDATES[1], "refs": REFERENCES[1]},
    ]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (spice_output(0.25), "no score for caption 2"),
        (spice_output(0.25, None), "TypeError"),
        (spice_output(float("nan"), 0.5), "caption 1, 'a dog'"),
        (spice_output(0.25, "NaN"), "caption 2, 'a cat sits on the mat'"),
        ([{"image_id": 0}], "KeyError('scores')"),
    ],
)
def test_invalid_scores_are_refused(
    scores: object, message: str, java: InstallJava, package: Path
) -> None:
    java(spice_program(scores))
    with pytest.raises(JavaError) as error:
        spice(CANDIDATES, REFERENCES)
    assert message in str(error.value)


def test_missing_output_of_spice_is_refused(java: InstallJava, package: Path) -> None:
    java("")
    with pytest.raises(JavaError, match="FileNotFound"):
        spice(CANDIDATES, REFERENCES)


@pytest.mark.parametrize("version", ["15", "21-ea"])
def test_a_java_too_new_for_spice_is_refused_before_the_download(
    version: str, java: InstallJava, package: Path
) -> None:
    next(corenlp(package)).unlink()
    java(spice_program([], version))
    with pytest.raises(JavaError, match=f"Java 8 to 14, and `java` is {version}"):
        spice(CANDIDATES, REFERENCES)


def test_the_download_is_logged_and_prints_nothing(
    java: InstallJava,
    package: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    java(spice_program(spice_output(0.25, 0)))
    for path in corenlp(package):
        path.unlink()
    script = "from pathlib import Path\nif __name__ == '__main__':\n    print('Progress')\n"
    script += "".join(f"    Path({str(path)!r}).touch()\n" for path in corenlp(package))
    (package / "get_stanford_models.py").write_text(script)
    caplog.set_level(logging.INFO, "vl")
    assert spice(CANDIDATES, REFERENCES).corpus == 0.125
    (record,) = caplog.records
    assert "downloading" in record.getMessage()
    assert str(package) in record.getMessage()
    assert spice(CANDIDATES, REFERENCES).corpus == 0.125
    assert len(caplog.records) == 1  # not again
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "raise OSError('<urlopen error [Errno -2] Name or service not known>')",
            "code 1: OSError: <urlopen error [Errno -2] Name or",
        ),
        ("import socket\nassert socket.getdefaulttimeout() == 60", "no stanford-corenlp-3.6"),
        ("import time\ntime.sleep(60)", "stopped after 1 seconds"),
    ],
)
def test_a_failed_download_is_a_one_line_error(
    script: str, message: str, java: InstallJava, package: Path
) -> None:
    java(spice_program([]))
    for path in corenlp(package):
        path.unlink()
    (package / "get_stanford_models.py").write_text(script)
    with pytest.raises(JavaError) as error:
        spice(CANDIDATES, REFERENCES, max_seconds=1 if "sleep" in script else 60)
    assert message in str(error.value)


def test_an_incomplete_download_is_refused(java: InstallJava, package: Path) -> None:
    java(spice_program([]))
    program, models = corenlp(package)
    models.unlink()
    with pytest.raises(JavaError, match=rf"incomplete: delete {program}"):
        spice(CANDIDATES, REFERENCES)
