"""Text about the drawn world: words of akin kinds have akin neighbours, and no picture is told."""

from collections import Counter

import numpy as np
import pytest

from vl.data.words.texts import plain_words
from vl.data.world.captions import captions
from vl.data.world.kinds import FAMILIES, KINDS, OF, SEEN, UNSEEN, families
from vl.data.world.scenes import SPLITS, scene
from vl.data.world.text import paragraphs


@pytest.fixture(scope="module")
def text():
    return list(paragraphs(60_000))


def test_a_seed_says_everything(text):
    assert list(paragraphs(60_000)) == text
    assert list(paragraphs(2000)) == text[: len(list(paragraphs(2000)))]
    assert list(paragraphs(2000, seed=1)) != list(paragraphs(2000))


def test_there_are_as_many_words_as_asked_for_and_no_paragraph_too_many(text):
    words = [len(paragraph.split()) for paragraph in text]
    assert sum(words) >= 60_000 > sum(words[:-1])
    assert list(paragraphs(0)) == []


def test_a_paragraph_is_a_line_of_sentences(text):
    for paragraph in text:
        assert "\n" not in paragraph
        assert paragraph.endswith(".")
        for sentence in paragraph.removesuffix(".").split(". "):
            assert sentence[0].isupper()
            assert "  " not in sentence and " ," not in sentence


def test_every_kind_is_told_of_equally_often(text):
    counts = Counter(word for paragraph in text for word in plain_words(paragraph.lower()))
    times = [sum(counts[word] for word in kind.words) for kind in KINDS]
    assert min(times) > 0.3 * max(times)
    assert min(times) > 80


def test_what_is_said_of_a_kind_is_its_own_or_its_families(text):
    facts = {fact for kind in KINDS for fact in kind.said}
    facts |= {fact for family in FAMILIES.values() for fact in family.said}
    alone = {fact for fact in facts if not any(fact in other for other in facts - {fact})}
    known = 0
    for paragraph in text:
        for sentence in paragraph.removesuffix(".").split(". "):
            words = sentence.lower()
            if words.startswith("like "):
                words = words.partition(", ")[2]  # what follows is of the second kind
            named = [kind for kind in KINDS if set(kind.words) & set(words.split())]
            if len(named) == 1:
                (kind,) = named
                own = {*kind.said}.union(*(FAMILIES[name].said for name in families(kind.name)))
                told = {fact for fact in alone if f" {fact.lower()}" in words}
                known += len(told)
                assert told <= own, sentence
    assert known > 1000


def test_no_caption_of_a_picture_of_held_out_things_is_in_it(text):
    """Short ones say little and may come by chance; long ones are as good as the picture."""
    told = " ".join(text).lower()
    for split in SPLITS:
        found = 0
        for number in range(100):
            long = [each for each in captions(scene(split, number)) if len(each.split()) > 10]
            found += sum(f"{each}." in told for each in long)
        assert found == 0


def neighbours(text, window=8):
    """Of each kind, how much more often than by chance words stand near it: ``(kinds, words)``."""
    lines = [plain_words(paragraph.lower()) for paragraph in text]
    vocabulary = {word: place for place, word in enumerate(sorted({w for x in lines for w in x}))}
    rows = {word: row for row, kind in enumerate(KINDS) for word in kind.words}
    counts = np.zeros((len(KINDS), len(vocabulary)))
    total = np.zeros(len(vocabulary))
    for words in lines:
        for place, word in enumerate(words):
            total[vocabulary[word]] += 1
            if word in rows:
                for other in words[max(0, place - window) : place + window + 1]:
                    if other not in rows:  # the names of kinds themselves would tell too much
                        counts[rows[word], vocabulary[other]] += 1
    expected = counts.sum(1, keepdims=True) * total / total.sum()
    gain = np.log(np.maximum(counts, 1e-9) / np.maximum(expected, 1e-9)).clip(min=0)
    return gain / np.linalg.norm(gain, axis=1, keepdims=True)


def test_unseen_kinds_have_neighbours_like_their_siblings(text):
    vectors = neighbours(text)
    alike = vectors @ vectors.T
    rows = {kind.name: row for row, kind in enumerate(KINDS)}
    for name in UNSEEN:
        kin = [
            other
            for other in SEEN
            if families(other)[0] in families(name) or families(name)[0] in families(other)
        ]
        order = sorted(SEEN, key=lambda other: -alike[rows[name], rows[other]])
        assert order[0] in kin, (name, order[:3])


@pytest.mark.slow
def test_skip_gram_puts_unseen_kinds_beside_their_siblings():
    from gensim.models import Word2Vec

    lines = [plain_words(paragraph.lower()) for paragraph in paragraphs(200_000)]
    model = Word2Vec(lines, vector_size=40, window=8, sg=1, negative=5, epochs=4, workers=1, seed=1)
    for name, expected in {
        "whale": {"fish", "crab"},
        "jug": {"cup", "bottle"},
        "spanner": {"hammer", "key"},
        "lorry": {"car"},
        "tent": {"house"},
    }.items():
        near = sorted(SEEN, key=lambda other: -model.wv.similarity(name, other))
        assert set(near[: len(expected)]) == expected
    assert len(OF) == len(KINDS)
