"""Analogies against gensim's accuracy and by hand."""

import numpy as np
import pytest
from gensim.models import KeyedVectors

from vl.data.errors import FormatError
from vl.data.words.vectors import WordVectors
from vl.metrics.analogies import AnalogyAccuracy, evaluate_analogies, read_analogies

FILE = """: capitals
Athens Greece Oslo Norway
Athens Greece Bern Switzerland

: family
boy girl king queen
"""


def random_vectors(words, width, seed):
    matrix = np.random.default_rng(seed).normal(size=(len(words), width)).astype(np.float32)
    return WordVectors(words, matrix / np.linalg.norm(matrix, axis=1)[:, None])


def test_analogies_are_read_by_section(tmp_path):
    (tmp_path / "questions").write_text(FILE)
    assert read_analogies(tmp_path / "questions") == {
        "capitals": [
            ("Athens", "Greece", "Oslo", "Norway"),
            ("Athens", "Greece", "Bern", "Switzerland"),
        ],
        "family": [("boy", "girl", "king", "queen")],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b c d\n", "line 1: no section"),
        (": s\na b c d\na b c\n", "line 3: .*four words"),
        (": s\n: t\n", "no analogies"),
    ],
)
def test_invalid_files_are_refused(tmp_path, text, message):
    (tmp_path / "questions").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_analogies(tmp_path / "questions")


def test_by_hand():
    corners = {"boy": (0, 0), "girl": (1, 0), "king": (0, 1), "queen": (1, 1), "cow": (-1, 0.4)}
    matrix = np.array([(3.0, *corner) for corner in corners.values()], np.float32)
    vectors = WordVectors(
        [word.title() for word in corners], matrix / np.linalg.norm(matrix, axis=1)[:, None]
    )
    questions = {
        "right": [("boy", "girl", "king", "QUEEN"), ("girl", "queen", "boy", "king")],
        "wrong": [("boy", "girl", "king", "cow"), ("boy", "girl", "king", "calf")],
    }
    assert evaluate_analogies(vectors, questions) == [
        AnalogyAccuracy("right", 2, 2, 0),
        AnalogyAccuracy("wrong", 0, 1, 1),
        AnalogyAccuracy("total", 2, 3, 1),
    ]


@pytest.mark.parametrize("max_scores", [1, 1 << 24])
@pytest.mark.parametrize("seed", range(4))
def test_equals_gensim(tmp_path, seed, max_scores):
    rng = np.random.default_rng(seed)
    words = [f"w{index}" for index in range(12)]
    words[3], words[7] = "W1", "W9"  # differ from w1, w9 only in case
    vectors = random_vectors(words, width=2, seed=seed)
    pool = [f"w{index}" for index in range(14)]  # two without a vector
    questions = {
        name: [tuple(map(str, rng.choice(pool, 4, replace=False))) for _ in range(200)]
        for name in ("one", "two")
    }
    lines = [
        f": {name}\n" + "".join(" ".join(analogy) + "\n" for analogy in section)
        for name, section in questions.items()
    ]
    (tmp_path / "questions").write_text("".join(lines))
    keyed_vectors = KeyedVectors(2)
    keyed_vectors.add_vectors(words, vectors.matrix)
    _, sections = keyed_vectors.evaluate_word_analogies(str(tmp_path / "questions"))
    analogies = read_analogies(tmp_path / "questions")
    ours = evaluate_analogies(vectors, analogies, max_scores=max_scores)
    theirs = [(len(section["correct"]), len(section["incorrect"])) for section in sections]
    assert [(section.correct, section.total - section.correct) for section in ours] == theirs
    assert ours[-1].total + ours[-1].skipped == 400
    assert 0 < ours[-1].correct < ours[-1].total and ours[-1].skipped
