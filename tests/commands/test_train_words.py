"""`vl train words`: a file of vectors, whole or not at all; joined phrases; invalid arguments."""

import dataclasses
import lzma
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gensim.models import KeyedVectors

from tests.labelling.test_word_training import story
from vl.__main__ import main
from vl.data.words.vectors import WordVectors
from vl.labelling.recipe import Word2VecSettings

FLAGS = ["--vector-size", "8", "--window", "4", "--min-count", "2", "--num-workers", "1"]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "texts" / "story.txt"
    path.parent.mkdir()
    lines = [" ".join(line).capitalize() + "." for line in story(200)]
    lines += ["Stop sign! A traffic light by the stop sign.", "Once only."]
    path.write_text("\n".join(lines))
    return path


def train(output, *arguments):
    return main(["train", "words", *map(str, arguments), "--output", str(output), *FLAGS])


def test_trains_a_file_of_vectors(text, tmp_path, capsys):
    output = tmp_path / "new" / "words.bin"
    assert train(output, text) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == f"{output}\n"
    vectors = WordVectors.load(output)
    assert {"cat", "dog", "stop", "sign"} <= set(vectors.words) and vectors.width == 8
    assert [path.name for path in output.parent.iterdir()] == ["words.bin"]
    # Traffic, light, by, once and only occur once.
    assert "once" not in vectors and "traffic" not in vectors
    counts = re.search(r"of (\d+) distinct words 5 occur fewer than 2 times", stderr)
    assert int(counts[1]) == len(vectors) + 5
    assert re.search(r"train (\d+)/\1  [\d.]+ words/s", stderr)


def test_compressed_texts_are_read_as_one(text, tmp_path):
    lines = text.read_text().splitlines(keepends=True)
    (tmp_path / "one.xz").write_bytes(lzma.compress("".join(lines[:100]).encode()))
    (tmp_path / "two").write_text("".join(lines[100:]))
    assert train(tmp_path / "whole.bin", text) == 0
    assert train(tmp_path / "parts.bin", tmp_path / "one.xz", tmp_path / "two") == 0
    assert (tmp_path / "whole.bin").read_bytes() == (tmp_path / "parts.bin").read_bytes()


def test_terms_of_labels_are_joined(text, tmp_path, capsys):
    labels = tmp_path / "labels"
    labels.write_text("n06794110\tstreet sign\nn00000001\tstop sign, Traffic Light\n")
    assert train(tmp_path / "words.bin", text, "--labels", labels) == 0
    vectors = WordVectors.load(tmp_path / "words.bin")
    assert "stop_sign" in vectors and "stop" not in vectors
    assert vectors.lookup("stop sign, traffic light").rule == "phrase"
    assert "of 3 terms of several words 1 occur 2 times or more" in capsys.readouterr().err


def test_logs_labels_that_are_left_out(text, tmp_path, capsys):
    labels = tmp_path / "labels"
    labels.write_text("stop sign\n\ntruck\nStop  Sign\n")
    assert train(tmp_path / "words.bin", text, "--labels", labels) == 0
    stderr = capsys.readouterr().err
    assert f"{labels}: left out: empty lines (1), first line 2" in stderr
    assert f"{labels}: left out: repeated labels (1), first 'Stop  Sign'" in stderr


def test_frequent_pairs_keep_terms_of_labels(tmp_path, capsys):
    """Joined to "stop sign post", the term would be too rare to get a vector."""
    text, labels = tmp_path / "text", tmp_path / "labels"
    starts = [f"{word} stop sign post" for word in ("a", "my", "some", "its")]
    text.write_text("\n".join([*starts, "one stop sign is", *["red fox"] * 9]))
    labels.write_text("stop sign\n")
    flags = ["--phrase-passes", "1", "--phrase-min-count", "3", "--phrase-threshold", "0.0001"]
    assert train(tmp_path / "some.bin", text, *flags, "--labels", labels) == 0
    assert {"stop_sign", "red_fox", "post"} <= set(WordVectors.load(tmp_path / "some.bin").words)
    assert "of 1 terms of several words 1 occur 2 times or more" in capsys.readouterr().err


def test_stdin(text, tmp_path):
    assert train(tmp_path / "file.bin", text) == 0
    before = os.dup(0)
    try:
        with text.open("rb") as file:
            os.dup2(file.fileno(), 0)
            assert train(tmp_path / "stdin.bin", "-") == 0
    finally:
        os.dup2(before, 0)
        os.close(before)
    assert (tmp_path / "stdin.bin").read_bytes() == (tmp_path / "file.bin").read_bytes()


def test_frequent_pairs_are_joined(text, tmp_path, capsys):
    flags = ["--phrase-passes", "2", "--phrase-threshold", "1"]
    assert train(tmp_path / "words.bin", text, *flags) == 0
    words = WordVectors.load(tmp_path / "words.bin").words
    assert any(word.count("_") == 1 for word in words)
    assert any(word.count("_") >= 2 for word in words)
    assert re.search(r"pass 1 joins \d+ pairs.*\n(.*\n)*.*pass 2 joins", capsys.readouterr().err)


def test_passes_end_without_pairs(text, tmp_path, capsys):
    assert train(tmp_path / "words.bin", text, "--phrase-passes", "5") == 0
    assert capsys.readouterr().err.count("joins 0 pairs") == 1


def test_text_format(text, tmp_path):
    assert train(tmp_path / "words.txt", text, "--text-format") == 0
    assert train(tmp_path / "words.bin", text) == 0
    as_text = KeyedVectors.load_word2vec_format(str(tmp_path / "words.txt"))
    as_binary = KeyedVectors.load_word2vec_format(str(tmp_path / "words.bin"), binary=True)
    assert as_text.index_to_key == as_binary.index_to_key
    assert (as_text.vectors == as_binary.vectors).all()


def test_defaults_are_devises():
    assert dataclasses.astuple(Word2VecSettings())[:5] == (500, 20, False, 0, 1)


def test_prints_accuracy_of_each_section_of_analogies(text, tmp_path, capsys):
    (tmp_path / "questions").write_text(": pets\ncat dog car bus\n: none\ncat dog Athens Greece\n")
    assert train(tmp_path / "words.bin", text, "--analogies", tmp_path / "questions") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(tmp_path / "words.bin")
    assert re.fullmatch(r"pets    +(0|100)\.0 % +[01]/1  0 skipped", lines[1])
    assert re.fullmatch(r"none   +- +0/0  1 skipped", lines[2])
    assert re.fullmatch(r"total   +(0|100)\.0 % +[01]/1  1 skipped", lines[3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no text is given"),
        (["TEXT", "--min-count", "0"], "--min-count is 0"),
        (["TEXT", "--negative=-1"], "--negative is -1"),
        (["TEXT", "--phrase-threshold", "0"], "--phrase-threshold is 0.0"),
        (["TEXT", "--learning-rate", "nan"], "--learning-rate is nan"),
        (["TEXT", "--sample", "1"], "--sample is 1.0"),
        (["TEXT", "--min-count", "9999"], "no word"),
        (["FOLDER/gone"], "FOLDER/gone: No such file"),
        (["FOLDER"], "FOLDER: Is a directory"),
        (["TEXT", "FOLDER/empty"], "FOLDER/empty: there is no word"),
        (["FOLDER/latin"], "FOLDER/latin: line 2: not UTF-8"),
        (["FOLDER/cut.xz"], "FOLDER/cut.xz: line 1: its compressed data is truncated"),
        (["TEXT", "--labels", "FOLDER/empty"], "FOLDER/empty: there is no label"),
        (["TEXT", "--labels", "FOLDER/ids"], "FOLDER/ids: line 1: n00000001"),
        (["TEXT", "--analogies", "FOLDER/latin"], "FOLDER/latin: line 1: no section"),
    ],
)
def test_invalid_arguments_are_one_line_and_leave_nothing(
    text, tmp_path, capsys, arguments, message
):
    folder = text.parent
    (folder / "empty").touch()
    (folder / "ids").write_text("n00000001\n")
    (folder / "latin").write_bytes(b"one\ncaf\xe9\n")
    (folder / "cut.xz").write_bytes(lzma.compress(b"words " * 999)[:-9])
    arguments = [a.replace("TEXT", str(text)).replace("FOLDER", str(folder)) for a in arguments]
    output = tmp_path / "out" / "words.bin"
    # Of repeated flags the last one counts.
    code = main(["train", "words", "--output", str(output), *FLAGS, *arguments])
    stdout, stderr = capsys.readouterr()
    assert code == 2 and stdout == ""
    assert f"vl: error: {message.replace('FOLDER', str(folder))}" in stderr
    assert not output.parent.exists() or list(output.parent.iterdir()) == []


def test_refuses_to_overwrite_its_input(text, tmp_path, capsys):
    content = text.read_bytes()
    for output, key_word in (
        (text, "is read by this command"),
        (tmp_path / "words.txt", "use --text-format"),
        (tmp_path / "words.bin.gz", "must end in .bin"),
    ):
        assert train(output, text) == 2
        assert key_word in capsys.readouterr().err
    assert text.read_bytes() == content


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_killed_run_leaves_the_old_file(text, tmp_path, signal_number):
    output = tmp_path / "out" / "words.bin"
    output.parent.mkdir()
    output.write_text("1 2\nold")
    # A shell in the background has its children ignore Ctrl-C.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from vl.__main__ import main; raise SystemExit(main())"
    arguments = ["train", "words", str(text), "--output", str(output), *FLAGS, "--epochs", "9999"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).resolve().parents[2],
    ) as process:
        for line in process.stderr:
            if "distinct words" in line:  # the last line before the training
                break
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal_number)
        stderr = process.stderr.read()
    assert process.returncode == (130 if signal_number == signal.SIGINT else -signal_number)
    assert "Traceback" not in stderr
    assert [path.read_text() for path in output.parent.glob("[!.]*")] == ["1 2\nold"]
