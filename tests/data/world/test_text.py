"""Text about the drawn world: related kinds have similar neighbors; no image is described."""

from collections import Counter

import numpy as np
import pytest

from vl.data.words.texts import plain_words
from vl.data.world.captions import scene_captions
from vl.data.world.kinds import FAMILIES, KINDS, SEEN, UNSEEN, ancestors
from vl.data.world.scenes import SPLITS, sample_scene
from vl.data.world.text import paragraphs


@pytest.fixture(scope="module")
def text():
    return list(paragraphs(60_000))


def sentences(text):
    return [s for paragraph in text for s in paragraph.removesuffix(".").split(". ")]


def test_seed(text):
    assert list(paragraphs(60_000)) == text
    assert list(paragraphs(2000)) == text[: len(list(paragraphs(2000)))]
    assert list(paragraphs(2000, seed=1)) != list(paragraphs(2000))


def test_number_of_words(text):
    counts = [len(paragraph.split()) for paragraph in text]
    assert sum(counts) >= 60_000 > sum(counts[:-1])
    assert list(paragraphs(0)) == []


def test_a_paragraph_is_a_line_of_sentences(text):
    for paragraph in text:
        assert "\n" not in paragraph
        assert paragraph.endswith(".")
    for sentence in sentences(text):
        assert sentence[0].isupper()
        assert "  " not in sentence and " ," not in sentence


def test_kinds_are_about_equally_frequent(text):
    counts = Counter(word for paragraph in text for word in plain_words(paragraph.lower()))
    frequencies = [sum(counts[word] for word in kind.words) for kind in KINDS]
    assert min(frequencies) > 0.3 * max(frequencies)
    assert min(frequencies) > 80


def test_facts_are_those_of_the_kind_or_its_families(text):
    facts = {fact for kind in KINDS for fact in kind.facts}
    facts |= {fact for family in FAMILIES.values() for fact in family.facts}
    facts = {fact for fact in facts if not any(fact in other for other in facts - {fact})}
    count = 0
    for sentence in sentences(text):
        words = sentence.lower()
        if words.startswith("like "):
            words = words.partition(", ")[2]  # the rest is about the second kind
        kinds = [kind for kind in KINDS if set(kind.words) & set(words.split())]
        if len(kinds) == 1:
            (kind,) = kinds
            true = {*kind.facts}.union(*(FAMILIES[name].facts for name in ancestors(kind.name)))
            asserted = {fact for fact in facts if f" {fact.lower()}" in words}
            count += len(asserted)
            assert asserted <= true, sentence
    assert count > 1000


def test_no_long_caption_of_an_image_is_in_the_text(text):
    """A short one says little and may come by chance; a long one is as good as the image."""
    whole = " ".join(text).lower()
    for split in SPLITS:
        for index in range(100):
            captions = scene_captions(sample_scene(split, index))
            assert not any(f"{c}." in whole for c in captions if len(c.split()) > 10)


def pointwise_mutual_information(text, window=8):
    """Of each kind with the words near it, unit rows ``(kinds, words)``."""
    lines = [plain_words(paragraph.lower()) for paragraph in text]
    column = {word: i for i, word in enumerate(sorted({w for line in lines for w in line}))}
    rows = {word: row for row, kind in enumerate(KINDS) for word in kind.words}
    counts = np.zeros((len(KINDS), len(column)))
    total = np.zeros(len(column))
    for words in lines:
        for position, word in enumerate(words):
            total[column[word]] += 1
            if word in rows:
                for neighbor in words[max(0, position - window) : position + window + 1]:
                    if neighbor not in rows:  # names of kinds would be too easy
                        counts[rows[word], column[neighbor]] += 1
    expected = counts.sum(1, keepdims=True) * total / total.sum()
    gain = np.log(np.maximum(counts, 1e-9) / np.maximum(expected, 1e-9)).clip(min=0)
    return gain / np.linalg.norm(gain, axis=1, keepdims=True)


def test_unseen_kinds_have_neighbors_like_their_siblings(text):
    vectors = pointwise_mutual_information(text)
    cosines = vectors @ vectors.T
    rows = {kind.name: row for row, kind in enumerate(KINDS)}
    for name in UNSEEN:
        relatives = [
            kind
            for kind in SEEN
            if ancestors(kind)[0] in ancestors(name) or ancestors(name)[0] in ancestors(kind)
        ]
        nearest = max(SEEN, key=lambda kind: cosines[rows[name], rows[kind]])
        assert nearest in relatives, (name, nearest)


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
        nearest = sorted(SEEN, key=lambda kind: -model.wv.similarity(name, kind))
        assert set(nearest[: len(expected)]) == expected
