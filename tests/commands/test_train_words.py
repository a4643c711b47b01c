"""`vl train words`: texts to a file of vectors, whole or not at all, nothing lost in silence."""

import lzma
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gensim.models import KeyedVectors, Word2Vec

from tests.labelling.test_word_training import story
from vl.__main__ import main
from vl.commands.train_words import WordTraining, run
from vl.data.words.vectors import WordVectors

FLAGS = ["--vector-size", "8", "--window", "4", "--min-count", "2", "--num-workers", "1"]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "texts" / "story.txt"
    path.parent.mkdir()
    lines = [" ".join(line).capitalize() + "." for line in story(200)]
    lines += ["Stop sign! A traffic light by the stop sign.", "Once only."]
    path.write_text("\n".join(lines))
    return path


def train(out, *arguments):
    return main(["train", "words", *map(str, arguments), "--output", str(out), *FLAGS])


def test_trains_a_file_of_vectors(text, tmp_path, capsys):
    out = tmp_path / "new" / "words.bin"
    assert train(out, text) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == f"{out}\n"
    vectors = WordVectors.load(out)
    assert {"cat", "dog", "stop", "sign"} <= set(vectors.words) and vectors.width == 8
    assert "once" not in vectors and "traffic" not in vectors
    assert [path.name for path in out.parent.iterdir()] == ["words.bin"]
    # By hand: light, once, only and traffic come once; "by" and "sign"... more are in the story.
    counts = re.search(r"of (\d+) distinct words (\d+) occur fewer than 2 times", stderr)
    assert int(counts[2]) == 5  # traffic, light, by, once, only
    assert int(counts[1]) == len(vectors) + 5
    assert re.search(r"train (\d+)/\1  [\d.]+ words/s  0 s left", stderr)
    assert f"{len(vectors)} vectors of size 8 in {out}" in stderr


def test_compressed_and_several_texts_are_read_as_one(text, tmp_path):
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


def test_logs_what_is_left_out_of_the_labels(text, tmp_path, capsys):
    labels = tmp_path / "labels"
    labels.write_text("stop sign\n\ntruck\nStop  Sign\n")
    assert train(tmp_path / "words.bin", text, "--labels", labels) == 0
    stderr = capsys.readouterr().err
    assert f"{labels}: left out: empty lines (1), first line 2" in stderr
    assert f"{labels}: left out: repeated labels (1), first 'Stop  Sign'" in stderr


def test_no_pair_takes_away_a_term_of_the_labels(tmp_path, capsys):
    """As "stop sign post", it would stand too rarely alone to get a vector."""
    text, labels = tmp_path / "text", tmp_path / "labels"
    starts = [f"{word} stop sign post" for word in ("a", "my", "some", "its")]
    text.write_text("\n".join([*starts, "one stop sign is", *["red fox"] * 9]))
    labels.write_text("stop sign\n")
    flags = ["--phrase-passes", "1", "--phrase-min-count", "3", "--phrase-threshold", "0.0001"]
    assert train(tmp_path / "some.bin", text, *flags, "--labels", labels) == 0
    assert {"stop_sign", "red_fox", "post"} <= set(WordVectors.load(tmp_path / "some.bin").words)
    assert "of 1 terms of several words 1 occur 2 times or more" in capsys.readouterr().err


def test_a_dash_is_standard_input(text, tmp_path):
    assert train(tmp_path / "file.bin", text) == 0
    before = os.dup(0)
    try:
        with text.open("rb") as given:
            os.dup2(given.fileno(), 0)
            assert train(tmp_path / "stdin.bin", "-") == 0
    finally:
        os.dup2(before, 0)
        os.close(before)
    assert (tmp_path / "stdin.bin").read_bytes() == (tmp_path / "file.bin").read_bytes()


def test_pairs_that_often_stand_together_become_one_word(text, tmp_path, capsys):
    flags = ["--phrase-passes", "2", "--phrase-threshold", "1"]
    assert train(tmp_path / "words.bin", text, *flags) == 0
    words = WordVectors.load(tmp_path / "words.bin").words
    assert any(word.count("_") == 1 for word in words)
    assert any(word.count("_") >= 2 for word in words)
    assert re.search(r"pass 1 joins \d+ pairs.*\n(.*\n)*.*pass 2 joins", capsys.readouterr().err)


def test_no_pass_follows_one_that_found_nothing(text, tmp_path, capsys):
    assert train(tmp_path / "words.bin", text, "--phrase-passes", "5") == 0
    assert capsys.readouterr().err.count("joins 0 pairs") == 1


def test_text_is_written_for_those_who_want_it(text, tmp_path):
    assert train(tmp_path / "words.txt", text, "--text-format") == 0
    assert train(tmp_path / "words.bin", text) == 0
    lines = (tmp_path / "words.txt").read_text().splitlines()
    assert lines[0] == f"{len(lines) - 1} 8"
    one = KeyedVectors.load_word2vec_format(str(tmp_path / "words.txt"))
    other = KeyedVectors.load_word2vec_format(str(tmp_path / "words.bin"), binary=True)
    assert one.index_to_key == other.index_to_key
    assert (one.vectors == other.vectors).all()


def test_devises_settings_are_the_defaults(text, tmp_path, monkeypatch):
    made = {}

    def watched(self, **named):
        made.update(named)
        raise KeyboardInterrupt

    monkeypatch.setattr(Word2Vec, "__init__", watched)
    with pytest.raises(KeyboardInterrupt):
        run(WordTraining([text], tmp_path / "words.bin"))
    asked = {"sg": 1, "hs": 1, "negative": 0, "window": 20, "vector_size": 500, "epochs": 1}
    assert {name: made[name] for name in asked} == asked
    assert made["workers"] >= 1 and made["sample"] == 1e-3 and made["alpha"] == 0.025
    with pytest.raises(KeyboardInterrupt):
        run(WordTraining([text], tmp_path / "words.bin", negative=7, cbow=True))
    assert (made["sg"], made["hs"], made["negative"]) == (0, 0, 7)


def test_prints_the_accuracy_of_each_section_of_analogies(text, tmp_path, capsys):
    (tmp_path / "questions").write_text(": pets\ncat dog car bus\n: none\ncat dog Athens Greece\n")
    assert train(tmp_path / "words.bin", text, "--analogies", tmp_path / "questions") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(tmp_path / "words.bin")
    assert re.fullmatch(r"pets    +(0|100)\.0 % +[01]/1  0 skipped", lines[1])
    assert re.fullmatch(r"none   +- +0/0  1 skipped", lines[2])
    assert re.fullmatch(r"total   +(0|100)\.0 % +[01]/1  1 skipped", lines[3])


ERRORS = [
    ([], "no text is given"),
    (["TEXT", "--min-count", "0"], "--min-count is 0"),
    (["TEXT", "--vector-size", "0"], "--vector-size is 0"),
    (["TEXT", "--window", "0"], "--window is 0"),
    (["TEXT", "--epochs", "0"], "--epochs is 0"),
    (["TEXT", "--negative=-1"], "--negative is -1"),
    (["TEXT", "--phrase-passes=-1"], "--phrase-passes is -1"),
    (["TEXT", "--phrase-min-count", "0"], "--phrase-min-count is 0"),
    (["TEXT", "--phrase-threshold", "0"], "--phrase-threshold is 0.0"),
    (["TEXT", "--seed=-1"], "--seed is -1"),
    (["TEXT", "--num-workers", "0"], "--num-workers is 0"),
    (["TEXT", "--learning-rate", "0"], "--learning-rate is 0.0"),
    (["TEXT", "--learning-rate", "nan"], "--learning-rate is nan"),
    (["TEXT", "--learning-rate", "10"], "--learning-rate is 10.0"),
    (["TEXT", "--sample", "1"], "--sample is 1.0"),
    (["TEXT", "--min-count", "9999"], "no word occurs 9999 times"),
    (["FOLDER/gone"], "FOLDER/gone: No such file or directory"),
    (["FOLDER"], "FOLDER: Is a directory"),
    (["TEXT", "FOLDER/empty"], "FOLDER/empty: there is no word in it"),
    (["FOLDER/latin"], "FOLDER/latin: line 2: not UTF-8 at byte 3 of the line"),
    (["FOLDER/cut.xz"], "FOLDER/cut.xz: line 1: its compressed data is truncated or damaged"),
    (["TEXT", "--labels", "FOLDER/empty"], "FOLDER/empty: there is no label in it"),
    (["TEXT", "--labels", "FOLDER/ids"], "FOLDER/ids: line 1: n00000001 is without words"),
    (["TEXT", "--analogies", "FOLDER/latin"], "FOLDER/latin: line 1: no section"),
]


@pytest.mark.parametrize(("arguments", "message"), ERRORS)
def test_invalid_arguments_are_one_line_and_leave_nothing(
    text, tmp_path, capsys, arguments, message
):
    folder = text.parent
    (folder / "empty").touch()
    (folder / "ids").write_text("n00000001\n")
    (folder / "latin").write_bytes(b"one\ncaf\xe9\n")
    (folder / "cut.xz").write_bytes(lzma.compress(b"words " * 999)[:-9])
    arguments = [
        each.replace("TEXT", str(text)).replace("FOLDER", str(folder)) for each in arguments
    ]
    out = tmp_path / "out" / "words.bin"
    # The flags that are given come last, and count.
    code = main(["train", "words", "--output", str(out), *FLAGS, *arguments])
    stdout, stderr = capsys.readouterr()
    assert code == 2 and stdout == ""
    assert f"vl: error: {message.replace('FOLDER', str(folder))}" in stderr
    assert not out.parent.exists() or list(out.parent.iterdir()) == []


def test_refuses_to_overwrite_its_input(text, tmp_path, capsys):
    before = text.read_bytes()
    assert train(text, text) == 2
    assert f"{text} is both read and written" in capsys.readouterr().err
    assert text.read_bytes() == before
    assert train(tmp_path, text) == 2
    assert f"{tmp_path}: not a regular file" in capsys.readouterr().err
    assert train(tmp_path / "words.bin.gz", text) == 2
    assert "not compressed; --output is words.bin.gz" in capsys.readouterr().err


def test_an_interruption_leaves_the_old_file(text, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out" / "words.bin"
    out.parent.mkdir()
    out.write_text("old")

    def interrupted(self, *_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Word2Vec, "build_vocab_from_freq", interrupted)
    assert train(out, text) == 130
    assert capsys.readouterr().err.endswith("vl: interrupted\n")
    assert [path.read_text() for path in out.parent.iterdir()] == ["old"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_leaves_the_old_file_alone(text, tmp_path, kind):
    out = tmp_path / "out" / "words.bin"
    out.parent.mkdir()
    out.write_text("old")
    # A shell in the background has its children ignore Ctrl-C.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from vl.__main__ import main; raise SystemExit(main())"
    arguments = ["train", "words", str(text), "--output", str(out), *FLAGS, "--epochs", "9999"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).resolve().parents[2],
    ) as process:
        for line in process.stderr:
            if "distinct words" in line:  # what is said before the training
                break
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(kind)
        last = process.stderr.read()
    assert process.returncode == (130 if kind == signal.SIGINT else -kind)
    assert "Traceback" not in last
    assert [path.read_text() for path in out.parent.iterdir()] == ["old"]
