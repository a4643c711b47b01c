"""Word analogy accuracy: Athens is to Greece as Oslo is to which word?"""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vl.data.errors import FormatError
from vl.data.text_files import text_lines
from vl.data.words.vectors import WordVectors

Analogy = tuple[str, str, str, str]
Analogies = dict[str, list[Analogy]]  # by section
_MAX_SCORES = 1 << 24  # in memory at once


class AnalogyAccuracy(NamedTuple):
    """How many analogies of a section the word vectors solve."""

    section: str
    correct: int
    total: int
    skipped: int  # not counted in `total`, as a word has no vector


def read_analogies(path: Path) -> Analogies:
    """Read word2vec's file of analogies: ``: section`` or four words per line.

    Raises:
        FormatError: a line is neither, or there is no analogy.
        OSError: the file cannot be read.
    """
    analogies: Analogies = {}
    section: list[Analogy] | None = None
    for line_number, line in enumerate(text_lines(path), 1):
        words = line.split()
        if words[:1] == [":"]:
            section = analogies.setdefault(" ".join(words[1:]), [])
        elif section is None or len(words) not in (0, 4):
            problem = "expected ': section' or four words" if section is not None else "no section"
            raise FormatError(path, problem, record=f"line {line_number}")
        elif words:
            section.append((words[0], words[1], words[2], words[3]))
    if not any(analogies.values()):
        raise FormatError(path, "there are no analogies in it")
    return analogies


def evaluate_analogies(
    vectors: WordVectors, analogies: Analogies, *, max_scores: int = _MAX_SCORES
) -> list[AnalogyAccuracy]:
    """Accuracy of each section, and finally of all together (``total``).

    The answer to a, b, c is the word nearest in angle to b - a + c that is none of the three. Case
    is ignored; of words that differ only in case, the first one's vector is used.

    Args:
        vectors: of the words.
        analogies: by section.
        max_scores: in memory at once; any value gives the same accuracy.

    Source:
        Mikolov et al. 2013 ("Efficient Estimation of Word Representations in Vector Space"), and
        word2vec's compute-accuracy without its limit to the most frequent words.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for row, word in enumerate(vectors.words):
        rows[word.casefold()].append(row)
    sections = []
    batch_size = max(1, max_scores // len(vectors))
    for name, quadruples in analogies.items():
        folded = [tuple(word.casefold() for word in words) for words in quadruples]
        solvable = [words for words in folded if all(word in rows for word in words)]
        correct = 0
        for start in range(0, len(solvable), batch_size):
            batch = solvable[start : start + batch_size]
            first_rows = np.array([[rows[word][0] for word in words[:3]] for words in batch])
            a, b, c = (vectors.matrix[first_rows[:, column]] for column in range(3))
            scores = (b - a + c) @ vectors.matrix.T  # (analogies, V)
            for score, words in zip(scores, batch):
                score[[row for word in words[:3] for row in rows[word]]] = -np.inf
                correct += int(score.argmax()) in rows[words[3]]
        skipped = len(quadruples) - len(solvable)
        sections.append(AnalogyAccuracy(name, correct, len(solvable), skipped))
    sums = (sum(counts) for counts in zip(*(section[1:] for section in sections)))
    return [*sections, AnalogyAccuracy("total", *sums)]
