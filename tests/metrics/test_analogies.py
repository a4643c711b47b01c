"""Analogies: against gensim's count, a plain one, and by hand."""

import numpy as np
import pytest
from gensim.models import KeyedVectors

from vl.data.errors import FormatError
from vl.data.words.vectors import WordVectors
from vl.metrics import analogies as module
from vl.metrics.analogies import Section, analogies, read_questions

FILE = """: capitals
Athens Greece Oslo Norway
Athens Greece Bern Switzerland

: family
boy girl king queen
"""


def made(words, width=6, seed=0):
    matrix = np.random.default_rng(seed).normal(size=(len(words), width)).astype(np.float32)
    return WordVectors(words, matrix / np.linalg.norm(matrix, axis=1)[:, None])


def test_questions_are_read_by_section(tmp_path):
    (tmp_path / "questions").write_text(FILE)
    assert read_questions(tmp_path / "questions") == {
        "capitals": [
            ("Athens", "Greece", "Oslo", "Norway"),
            ("Athens", "Greece", "Bern", "Switzerland"),
        ],
        "family": [("boy", "girl", "king", "queen")],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b c d\n", "questions: line 1: no section"),
        (": s\na b c d\na b c\n", "questions: line 3: expected ': section' or four words"),
        (": s\na b c d e\n", "questions: line 2: expected ': section' or four words"),
        (": s\n: t\n", "questions: there are no questions in it"),
        ("", "questions: there are no questions in it"),
    ],
)
def test_a_file_that_is_no_list_of_questions_is_refused(tmp_path, text, message):
    (tmp_path / "questions").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_questions(tmp_path / "questions")


def test_a_question_is_answered_by_hand():
    corners = {"boy": (0, 0), "girl": (1, 0), "king": (0, 1), "queen": (1, 1), "cow": (-1, 0.4)}
    matrix = np.array([(3.0, *corner) for corner in corners.values()], np.float32)
    vectors = WordVectors(
        [word.title() for word in corners], matrix / np.linalg.norm(matrix, axis=1)[:, None]
    )
    questions = {
        "right": [("boy", "girl", "king", "QUEEN"), ("girl", "queen", "boy", "king")],
        "wrong": [("boy", "girl", "king", "cow"), ("boy", "girl", "king", "calf")],
    }
    assert analogies(vectors, questions) == [
        Section("right", 2, 2, 0),
        Section("wrong", 0, 1, 1),
        Section("total", 2, 3, 1),
    ]


@pytest.mark.parametrize("at_once", [1, 1 << 24])
@pytest.mark.parametrize("seed", range(4))
def test_it_counts_as_gensim_does(tmp_path, monkeypatch, seed, at_once):
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    randomly = np.random.default_rng(seed)
    words = [f"w{number}" for number in range(12)]
    words[3], words[7] = "W1", "W9"  # in capitals alone another word than w1, w9
    vectors = made(words, width=2, seed=seed)
    known = [f"w{number}" for number in range(14)]  # two without a vector
    questions = {
        name: [tuple(map(str, randomly.choice(known, 4, replace=False))) for _ in range(200)]
        for name in ("one", "two")
    }
    lines = [
        f": {name}\n" + "".join(" ".join(q) + "\n" for q in asked)
        for name, asked in questions.items()
    ]
    (tmp_path / "questions").write_text("".join(lines))
    held = KeyedVectors(2)
    held.add_vectors(words, vectors.matrix)
    _, sections = held.evaluate_word_analogies(str(tmp_path / "questions"))
    ours = analogies(vectors, read_questions(tmp_path / "questions"))
    theirs = [(len(each["correct"]), len(each["incorrect"])) for each in sections]
    assert [(each.right, each.asked - each.right) for each in ours] == theirs
    assert ours[-1].asked + ours[-1].skipped == 400
    assert 0 < ours[-1].right < ours[-1].asked and ours[-1].skipped
