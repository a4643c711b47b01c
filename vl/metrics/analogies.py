"""Analogies: of Athens, Greece and Oslo, which word stands to Oslo as Greece to Athens?"""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vl.data.errors import FormatError
from vl.data.words.texts import text_lines
from vl.data.words.vectors import WordVectors

Question = tuple[str, str, str, str]
Questions = dict[str, list[Question]]  # by section
_AT_ONCE = 1 << 24  # scores in memory


class Section(NamedTuple):
    """How many questions of a section the vectors answer."""

    name: str
    right: int
    asked: int
    skipped: int  # for a word has no vector


def read_questions(path: Path) -> Questions:
    """word2vec's file of questions: ``: section`` or four words a line.

    Raises:
        FormatError: a line is neither, or there is no question.
        OSError: the file cannot be read.
    """
    questions: Questions = {}
    section: list[Question] | None = None
    for number, line in enumerate(text_lines(path), 1):
        words = line.split()
        if words[:1] == [":"]:
            section = questions.setdefault(" ".join(words[1:]), [])
        elif section is None or len(words) not in (0, 4):
            problem = "expected ': section' or four words" if section is not None else "no section"
            raise FormatError(path, problem, record=f"line {number}")
        elif words:
            section.append((words[0], words[1], words[2], words[3]))
    if not any(questions.values()):
        raise FormatError(path, "there are no questions in it")
    return questions


def analogies(vectors: WordVectors, questions: Questions) -> list[Section]:
    """How many questions are answered, by section and in the end in all (``total``).

    The answer to a, b, c is the word nearest in angle to b - a + c, which is none of the three.
    Capitals do not count; of words that differ in them alone, the first is asked.

    Args:
        vectors: of the words.
        questions: by section.

    Source:
        Mikolov et al. 2013 ("Efficient Estimation of Word Representations in Vector Space"), and
        word2vec's compute-accuracy, but for its limit to the most frequent words.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for row, word in enumerate(vectors.words):
        rows[word.casefold()].append(row)
    sections = []
    for name, wanted in questions.items():
        folded = [tuple(word.casefold() for word in question) for question in wanted]
        known = [question for question in folded if all(word in rows for word in question)]
        right = 0
        step = max(1, _AT_ONCE // len(vectors))
        for start in range(0, len(known), step):
            part = known[start : start + step]
            first = np.array([[rows[word][0] for word in question[:3]] for question in part])
            a, b, c = (vectors.matrix[first[:, place]] for place in range(3))
            scores = (b - a + c) @ vectors.matrix.T  # (questions, V)
            for score, question in zip(scores, part):
                score[[row for word in question[:3] for row in rows[word]]] = -np.inf
                right += int(score.argmax()) in rows[question[3]]
        sections.append(Section(name, right, len(known), len(wanted) - len(known)))
    right, asked, skipped = (
        sum(counts)
        for counts in zip(*((each.right, each.asked, each.skipped) for each in sections))
    )
    return [*sections, Section("total", right, asked, skipped)]
