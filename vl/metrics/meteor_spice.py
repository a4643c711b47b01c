"""METEOR and SPICE, which are written in Java: the jars of pycocoevalcap, run from here.

The jars are run directly. pycocoevalcap's own classes write to stdout and into their package, and
wait for ever after some failures; from a failure here comes one sentence, never part of a score.
"""

import importlib.util
import json
import logging
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vl.metrics.score import Floats, Score, mean_score

_LOG = logging.getLogger(__name__)

# METEOR 1.5's numbers for English, by which its jar weighs (Denkowski and Lavie 2014).
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_STAGES = (1.0, 0.6, 0.8, 0.6)  # of the same word, stem, synonym and paraphrase
_STATISTICS = 23  # that its jar tells of a caption, in the order of meteor_figure
_CHUNKS = 20  # the place of one of them

_LAST_JAVA = 14  # Java 15 took out the JavaScript engine by which SPICE writes scores (JEP 372)
_CORENLP = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
# pycocoevalcap's script waits for the network without end; a minute's silence is enough.
_FETCH = """
import runpy, socket, sys
socket.setdefaulttimeout(60)
runpy.run_path(sys.argv[1], run_name="__main__")
"""

_HOURS = 3600.0  # seconds


class JavaError(OSError):
    """What is needed is not installed, or a program in Java has failed; the message says which.

    An OSError, as the fault lies outside this program and its input.
    """


def meteor(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    most_seconds: float = 6 * _HOURS,
) -> Score:
    """METEOR 1.5 for English, with ``-norm``, as coco-caption calls it.

    The corpus's figure is METEOR's own, from statistics summed over images; it is not the mean of
    the images' figures. Java takes some ten seconds to read its table of paraphrases.

    Args:
        candidates: one caption an image, its words joined by spaces.
        references: for each image, in the same order, its true captions, likewise.
        most_seconds: after which METEOR is stopped, so that nothing waits for ever.

    Raises:
        ValueError: there is no caption, the two differ in number, an image has no reference, or
            a caption is not a string.
        JavaError: pycocoevalcap or Java is not installed, or METEOR failed.

    Source:
        Denkowski and Lavie 2014. The jar aligns the words; its formula is ``meteor_figure``.
    """
    _check(candidates, references)
    jar = _jar("METEOR", "meteor", "meteor-1.5.jar")
    command = [_java("METEOR"), "-jar", "-Xmx2G", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    lines = (
        " ||| ".join(["SCORE", *map(_one_line, captions), _one_line(candidate)])
        for candidate, captions in zip(candidates, references, strict=True)
    )
    given = "".join(f"{line}\n" for line in lines)
    output = _run("METEOR", command, folder=jar.parent, given=given, most_seconds=most_seconds)
    statistics = _statistics(output.splitlines(), len(candidates))
    # METEOR counts no chunk of a caption that is its reference word for word.
    whole = (statistics[:, :2] == statistics[:, 21:]).all(1) & (statistics[:, _CHUNKS] == 1)
    statistics[whole, _CHUNKS] = 0
    return Score("METEOR", meteor_figure(statistics), statistics, meteor_figure, "version 1.5")


def meteor_figure(sums: Floats) -> Floats:
    """METEOR's formula.

    Args:
        sums: ``(..., 23)``, each of the candidate and then of the reference where there are two:
            words (2), function words (2), for each stage the content words (2) and function words
            (2) that match, chunks (1), words that match (2).

    Returns:
        ``(...,)``, in [0, 1]; 0 where no word matches.

    Source:
        Denkowski and Lavie 2014, section 2, with the weights of METEOR 1.5 for English.
    """
    kinds = np.array([_DELTA, 1 - _DELTA])  # content words, function words
    words, function_words = sums[..., 0:2], sums[..., 2:4]
    lengths = kinds[0] * (words - function_words) + kinds[1] * function_words  # (..., 2)
    stages = sums[..., 4:_CHUNKS].reshape(*sums.shape[:-1], len(_STAGES), 2, 2)
    matches = np.einsum("...ikj,i,k->...j", stages, np.array(_STAGES), kinds)  # (..., 2)
    with np.errstate(divide="ignore", invalid="ignore"):  # where no word matches
        precision, recall = np.moveaxis(matches / lengths, -1, 0)
        mean = 1 / ((1 - _ALPHA) / precision + _ALPHA / recall)
        fragmentation = 2 * sums[..., _CHUNKS] / sums[..., _CHUNKS + 1 :].sum(-1)
        figure = mean * (1 - _GAMMA * fragmentation**_BETA)
    found: Floats = np.where(np.isnan(figure), 0.0, np.maximum(figure, 0))
    return found


def spice(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    most_seconds: float = 24 * _HOURS,
) -> Score:
    """SPICE 1.0; the corpus's figure is the mean of the images'.

    It runs on Java 8 to 14 and takes up to 8 GB. It needs Stanford CoreNLP, which pycocoevalcap's
    script fetches once from the network into its package; the log says so before. All captions
    are parsed at every call: pycocoevalcap's cache lies in its package and is not used.

    Args:
        candidates: one caption an image, its words joined by spaces.
        references: for each image, in the same order, its true captions, likewise.
        most_seconds: after which fetching, and then SPICE, is stopped.

    Raises:
        ValueError: there is no caption, the two differ in number, an image has no reference, or
            a caption is not a string.
        JavaError: pycocoevalcap or a fitting Java is not installed, CoreNLP could not be fetched,
            SPICE failed, or it has no figure for a caption.

    Source:
        Anderson et al. 2016.
    """
    _check(candidates, references)
    jar = _jar("SPICE", "spice", "spice-1.0.jar")
    java = _java("SPICE")
    _check_version(java)
    _fetch_corenlp(jar.parent, most_seconds=most_seconds)
    pairs = zip(candidates, references, strict=True)
    images = [
        {"image_id": number, "test": candidate, "refs": list(captions)}
        for number, (candidate, captions) in enumerate(pairs)
    ]
    with tempfile.TemporaryDirectory(prefix="vl-spice-") as folder:
        source, result = Path(folder, "captions.json"), Path(folder, "scores.json")
        source.write_text(json.dumps(images), encoding="ascii")
        command = [java, "-jar", "-Xmx8G", str(jar), str(source), "-out", str(result), "-silent"]
        _run("SPICE", command, folder=jar.parent, most_seconds=most_seconds)
        try:
            figures = {
                image["image_id"]: image["scores"]["All"]["f"]
                for image in json.loads(result.read_text(encoding="utf-8"))
            }
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise JavaError(f"SPICE wrote no scores that can be read: {error!r}") from error
    if set(figures) != set(range(len(candidates))):
        raise JavaError(f"SPICE gave {len(figures)} scores for {len(candidates)} captions")
    for number, caption in enumerate(candidates):
        if not isinstance(figures[number], int | float) or not np.isfinite(figures[number]):
            raise JavaError(f"SPICE gave {figures[number]!r} for caption {number + 1}, {caption!r}")
    ordered = [float(figures[number]) for number in range(len(candidates))]
    return mean_score("SPICE", np.array(ordered), detail="version 1.0")


def _check(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} captions, but references of {len(references)} images")
    if not len(candidates):
        raise ValueError("there is no caption to score")
    for candidate, captions in zip(candidates, references, strict=True):
        if isinstance(captions, str):
            raise ValueError(f"an image's references must be a list, not the string {captions!r}")
        if not len(captions):
            raise ValueError("an image has no reference caption")
        for caption in (candidate, *captions):
            if not isinstance(caption, str):
                raise ValueError(f"a caption must be a string, not {caption!r}")


def _one_line(caption: str) -> str:
    """A caption without what divides captions in METEOR's input."""
    return re.sub(r"\|\|\||[\r\n]", " ", caption)


def _statistics(lines: Sequence[str], captions: int) -> Floats:
    """METEOR's answer as numbers, ``(captions, 23)``."""
    if len(lines) != captions:
        raise JavaError(f"METEOR gave {len(lines)} lines for {captions} captions")
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = [float(figure) for figure in line.split()]
        except ValueError:
            row = []
        if len(row) != _STATISTICS or not np.isfinite(row).all():
            raise JavaError(f"METEOR said of caption {number}, instead of 23 numbers: {line}")
        rows.append(row)
    return np.array(rows)


def _jar(score: str, *place: str) -> Path:
    """The jar of a score in pycocoevalcap."""
    found = importlib.util.find_spec("pycocoevalcap")
    if found is None:
        raise JavaError(f"{score} needs pycocoevalcap: pip install 'vl[java]'")
    for folder in found.submodule_search_locations or ():
        jar = Path(folder, *place).resolve()
        if jar.is_file():
            return jar
    raise JavaError(f"pycocoevalcap is without {'/'.join(place)}: install it again")


def _java(score: str) -> str:
    java = shutil.which("java")
    if java is None:
        raise JavaError(
            f"{score} needs Java, and there is no `java` on PATH: install a Java runtime"
            " (Debian: apt install default-jre-headless)"
        )
    return str(Path(java).absolute())  # it runs in another folder


def _check_version(java: str) -> None:
    """Refuse a Java on which SPICE would parse for hours and then be unable to write."""
    said = _run("java -version", [java, "-version"], most_seconds=60, of_errors=True)
    version = re.search(r'version "((?:1\.)?(\d+)[^"]*)"', said)
    if version is not None and int(version[2]) > _LAST_JAVA:
        raise JavaError(
            f"SPICE runs on Java 8 to {_LAST_JAVA}, and `java` is {version[1]}:"
            " put a Java 8 or 11 first on PATH"
        )


def _fetch_corenlp(folder: Path, *, most_seconds: float) -> None:
    """See that SPICE's parser is there; pycocoevalcap's script fetches it."""
    program, models = (folder / "lib" / name for name in _CORENLP)
    if program.exists() and models.exists():
        return
    if program.exists():  # the script looks for nothing else, and would take this for all
        raise JavaError(
            f"Stanford CoreNLP was fetched in part only: delete {program}, and it is fetched again"
        )
    _LOG.info(
        "SPICE needs Stanford CoreNLP 3.6.0: fetching several hundred megabytes from"
        " nlp.stanford.edu into %s, this once",
        folder,
    )
    command = [sys.executable, "-c", _FETCH, str(folder / "get_stanford_models.py")]
    _run("fetching Stanford CoreNLP for SPICE", command, most_seconds=most_seconds)
    if not (program.exists() and models.exists()):
        raise JavaError(f"fetching Stanford CoreNLP for SPICE left no {models.name} in {folder}")


def _run(
    name: str,
    command: Sequence[str],
    *,
    most_seconds: float,
    folder: Path | None = None,
    given: str = "",
    of_errors: bool = False,
) -> str:
    """What a program writes to its stdout, or to its stderr; nothing of it reaches ours."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            input=given.encode("utf-8", "replace"),
            capture_output=True,
            timeout=most_seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise JavaError(f"{name} was stopped: not done after {most_seconds:g} seconds") from error
    except OSError as error:
        raise JavaError(f"{name} could not be started: {command[0]}: {error.strerror}") from error
    output, errors = (said.decode("utf-8", "replace") for said in (done.stdout, done.stderr))
    if done.returncode < 0:
        raise JavaError(f"{name} was ended by signal {-done.returncode}: {_cause(errors)}")
    if done.returncode:  # what keeps Java from starting, it says on stdout
        cause = _cause(errors or output)
        raise JavaError(f"{name} ended with exit code {done.returncode}: {cause}")
    return errors if of_errors else output


def _cause(errors: str) -> str:
    """The line that says best what went wrong: the last exception, which is the first cause."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    exception = re.compile(r"Caused by|Exception in|[\w.]*(Error|Exception)(:|$)")
    named = [line for line in lines if exception.match(line)]
    return (named or lines or ["it did not say why"])[-1]
