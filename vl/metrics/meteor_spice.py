"""METEOR (Denkowski and Lavie 2014) and SPICE (Anderson et al. 2016), by pycocoevalcap's jars.

pycocoevalcap's own classes do not replace this: Meteor returns no statistics for intervals and
tests and waits forever when Java fails, Spice writes into its package and to stdout. The answers
are the same: METEOR 0.2393 for Google's captions of 2,500 COCO images, in 39 s here, 31 s there.
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

_log = logging.getLogger(__name__)

# METEOR 1.5's parameters for English, by which its jar weights (Denkowski and Lavie 2014).
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_STAGES = (1.0, 0.6, 0.8, 0.6)  # of exact, stem, synonym and paraphrase matches
_STATISTICS = 23  # that its jar prints for a caption, in the order of meteor_value
_CHUNKS = 20  # index of the number of chunks

_LAST_JAVA = 14  # Java 15 removed the JavaScript engine with which SPICE writes scores (JEP 372)
_CORENLP = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
# pycocoevalcap's script waits for the network without a timeout.
_DOWNLOAD = """
import runpy, socket, sys
socket.setdefaulttimeout(60)
runpy.run_path(sys.argv[1], run_name="__main__")
"""

_HOURS = 3600.0  # seconds


class JavaError(OSError):
    """A dependency is not installed, or a Java program failed; the message says which."""


def meteor(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    max_seconds: float = 6 * _HOURS,
) -> Score:
    """METEOR 1.5 for English, with ``-norm``, as coco-caption calls it.

    The corpus value is METEOR's own, from sums of statistics over images; it is not the mean over
    images. Java takes about ten seconds to read its table of paraphrases.

    Args:
        candidates: one caption per image, its words joined by spaces.
        references: for each image, in the same order, one or more captions, likewise.
        max_seconds: after which METEOR is stopped.

    Raises:
        JavaError: pycocoevalcap or Java is not installed, or METEOR failed.

    Source:
        The jar aligns the words; its formula is ``meteor_value``.
    """
    jar = _find_jar("METEOR", "meteor", "meteor-1.5.jar")
    java = _find_java("METEOR")
    command = [java, "-jar", "-Xmx2G", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    lines = (
        " ||| ".join(["SCORE", *map(_one_line, captions), _one_line(candidate)])
        for candidate, captions in zip(candidates, references, strict=True)
    )
    stdin = "".join(f"{line}\n" for line in lines)
    output = _run("METEOR", command, folder=jar.parent, stdin=stdin, max_seconds=max_seconds)
    rows = [line.split() for line in output.splitlines()]
    try:
        statistics = np.array(rows, np.float64)
        is_valid = statistics.shape == (len(candidates), _STATISTICS)
    except ValueError:
        is_valid = False
    if not (is_valid and np.isfinite(statistics).all()):
        problem = f"expected {_STATISTICS} finite values for each of {len(candidates)} captions"
        raise JavaError(f"METEOR's output cannot be read: {problem}: {_cause(output)}")
    # METEOR counts no chunk for a caption that equals its reference.
    is_equal = (statistics[:, :2] == statistics[:, 21:]).all(1) & (statistics[:, _CHUNKS] == 1)
    statistics[is_equal, _CHUNKS] = 0
    return Score("METEOR", meteor_value(statistics), statistics, meteor_value, "version 1.5")


def meteor_value(sums: Floats) -> Floats:
    """METEOR's formula.

    Args:
        sums: ``(..., 23)``, of candidate and reference where there are two: words (2), function
            words (2), for each stage the matched content words (2) and function words (2), chunks
            (1), matched words (2).

    Returns:
        ``(...,)``, in [0, 1]; 0 where no word matches.

    Source:
        Denkowski and Lavie 2014, section 2, with the parameters of METEOR 1.5 for English.
    """
    weights = np.array([_DELTA, 1 - _DELTA])  # content words, function words
    words, function_words = sums[..., 0:2], sums[..., 2:4]
    lengths = weights[0] * (words - function_words) + weights[1] * function_words  # (..., 2)
    stages = sums[..., 4:_CHUNKS].reshape(*sums.shape[:-1], len(_STAGES), 2, 2)
    matches = np.einsum("...ikj,i,k->...j", stages, np.array(_STAGES), weights)  # (..., 2)
    with np.errstate(divide="ignore", invalid="ignore"):  # where no word matches
        precision, recall = np.moveaxis(matches / lengths, -1, 0)
        mean = 1 / ((1 - _ALPHA) / precision + _ALPHA / recall)
        fragmentation = 2 * sums[..., _CHUNKS] / sums[..., _CHUNKS + 1 :].sum(-1)
        value = mean * (1 - _GAMMA * fragmentation**_BETA)
    finite: Floats = np.where(np.isnan(value), 0.0, np.maximum(value, 0))
    return finite


def spice(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    max_seconds: float = 24 * _HOURS,
) -> Score:
    """SPICE 1.0; the corpus value is the mean over images.

    It runs on Java 8 to 14 and takes up to 8 GB. It needs Stanford CoreNLP, which pycocoevalcap's
    script downloads once into its package, after a line in the log. All captions are parsed at
    every call: pycocoevalcap's cache, inside its package, is not used.

    The arguments are those of `meteor`; the download, and then SPICE, may take ``max_seconds``.

    Raises:
        JavaError: pycocoevalcap or a suitable Java is not installed, CoreNLP could not be
            downloaded, SPICE failed, or it has no score for a caption.
    """
    jar = _find_jar("SPICE", "spice", "spice-1.0.jar")
    java = _find_java("SPICE")
    _check_version(java)
    _download_corenlp(jar.parent, max_seconds=max_seconds)
    images = [
        {"image_id": index, "test": candidate, "refs": list(references[index])}
        for index, candidate in enumerate(candidates)
    ]
    with tempfile.TemporaryDirectory(prefix="vl-spice-") as folder:
        source, output = Path(folder, "captions.json"), Path(folder, "scores.json")
        source.write_text(json.dumps(images), encoding="ascii")
        command = [java, "-jar", "-Xmx8G", str(jar), str(source), "-out", str(output), "-silent"]
        _run("SPICE", command, folder=jar.parent, max_seconds=max_seconds)
        try:
            scores = {
                image["image_id"]: float(image["scores"]["All"]["f"])
                for image in json.loads(output.read_text(encoding="utf-8"))
            }
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise JavaError(f"SPICE wrote no scores that can be read: {error!r}") from error
    per_image = [scores.get(index, np.nan) for index in range(len(candidates))]
    if not np.isfinite(per_image).all():
        index = int(np.isfinite(per_image).argmin())
        raise JavaError(f"SPICE has no score for caption {index + 1}, {candidates[index]!r}")
    return mean_score("SPICE", np.array(per_image), settings="version 1.0")


def _one_line(caption: str) -> str:
    """A caption without what separates captions in METEOR's input."""
    return re.sub(r"\|\|\||[\r\n]", " ", caption)


def _find_jar(metric: str, *path: str) -> Path:
    """The jar of a metric in pycocoevalcap."""
    package = importlib.util.find_spec("pycocoevalcap")
    if package is None:
        raise JavaError(f"{metric} needs pycocoevalcap: pip install 'vl[java]'")
    for folder in package.submodule_search_locations or ():
        jar = Path(folder, *path).resolve()
        if jar.is_file():
            return jar
    raise JavaError(f"pycocoevalcap has no {'/'.join(path)}: reinstall it")


def _find_java(metric: str) -> str:
    java = shutil.which("java")
    if java is None:
        cure = "install a Java runtime (Debian: apt install default-jre-headless)"
        raise JavaError(f"{metric} needs Java, and there is no `java` on PATH: {cure}")
    return str(Path(java).absolute())  # it runs in another folder


def _check_version(java: str) -> None:
    """Refuse a Java on which SPICE would parse for hours and then fail to write."""
    output = _run("java -version", [java, "-version"], max_seconds=60, stderr=subprocess.STDOUT)
    version = re.search(r'version "((?:1\.)?(\d+)[^"]*)"', output)
    if version is not None and int(version[2]) > _LAST_JAVA:
        problem = f"SPICE runs on Java 8 to {_LAST_JAVA}, and `java` is {version[1]}"
        raise JavaError(f"{problem}: put a Java 8 or 11 first on PATH")


def _download_corenlp(folder: Path, *, max_seconds: float) -> None:
    """Run pycocoevalcap's download script unless SPICE's parser is installed."""
    program, models = (folder / "lib" / name for name in _CORENLP)
    if program.exists() and models.exists():
        return
    if program.exists():  # the script looks for nothing else, and would take this as complete
        cure = f"delete {program}, and it is downloaded again"
        raise JavaError(f"Stanford CoreNLP is incomplete: {cure}")
    message = "SPICE needs Stanford CoreNLP 3.6.0: downloading several hundred megabytes into %s"
    _log.info(message, folder)
    command = [sys.executable, "-c", _DOWNLOAD, str(folder / "get_stanford_models.py")]
    _run("the download of Stanford CoreNLP for SPICE", command, max_seconds=max_seconds)
    if not (program.exists() and models.exists()):
        raise JavaError(f"the download of Stanford CoreNLP left no {models.name} in {folder}")


def _run(
    name: str,
    command: Sequence[str],
    *,
    max_seconds: float,
    folder: Path | None = None,
    stdin: str = "",
    stderr: int = subprocess.PIPE,
) -> str:
    """A program's stdout; nothing of it reaches ours."""
    try:
        process = subprocess.run(
            command,
            cwd=folder,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            encoding="utf-8",
            errors="replace",
            timeout=max_seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise JavaError(f"{name} was stopped after {max_seconds:g} seconds") from error
    except OSError as error:
        raise JavaError(f"{name} could not be started: {command[0]}: {error.strerror}") from error
    if process.returncode:  # negative for a signal
        cause = _cause(process.stderr or process.stdout)  # the JVM uses stdout if it cannot start
        raise JavaError(f"{name} failed with exit code {process.returncode}: {cause}")
    return process.stdout


def _cause(output: str) -> str:
    """The most informative line: the last exception, which is the root cause."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    exception = re.compile(r"Caused by|Exception in|[\w.]*(Error|Exception)(:|$)")
    exceptions = [line for line in lines if exception.match(line)]
    return (exceptions or lines or ["no message"])[-1]
