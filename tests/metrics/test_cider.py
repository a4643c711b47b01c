"""CIDEr-D against coco-caption's; CIDEr, and both with saved frequencies, against plain loops."""

import gzip
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pycocoevalcap.cider.cider import Cider

from tests.helpers.random_captions import Corpus, Words, join, pairs, random_corpus
from vl.data.errors import FormatError
from vl.metrics.cider import (
    DocumentFrequencies,
    cider,
    cider_d,
    document_frequencies,
    read_frequencies,
    write_frequencies,
)
from vl.metrics.ngrams import index_captions


def plain_ngrams(words: Words) -> Counter[str]:
    """Counts of n-grams of one to four words, split at white space."""
    split = " ".join(words).split()
    return Counter(
        " ".join(split[first : first + order])
        for order in (1, 2, 3, 4)
        for first in range(len(split) - order + 1)
    )


def plain_frequencies(references: list[list[Words]]) -> Counter[str]:
    return Counter(
        ngram
        for captions in references
        for ngram in {ngram for words in captions for ngram in plain_ngrams(words)}
    )


def plain_cider(corpus: Corpus, frequencies: DocumentFrequencies, *, robust: bool) -> list[float]:
    """CIDEr-D if robust, else CIDEr, of each image."""

    def tfidf(words: Words, order: int) -> dict[str, float]:
        num_images, counts = frequencies
        return {
            ngram: count * math.log(num_images / max(1, counts.get(ngram, 0)))
            for ngram, count in plain_ngrams(words).items()
            if ngram.count(" ") + 1 == order
        }

    def cosine(candidate: Words, reference: Words, order: int) -> float:
        a, b = tfidf(candidate, order), tfidf(reference, order)
        norms = [math.sqrt(sum(weight**2 for weight in vector.values())) for vector in (a, b)]
        if not all(norms):
            return 0.0
        products = ((min(a[key], b[key]) if robust else a[key]) * b[key] for key in a.keys() & b)
        return sum(products) / norms[0] / norms[1]

    def penalty(candidate: Words, reference: Words) -> float:
        lengths = [len(" ".join(words).split()) for words in (candidate, reference)]
        return math.exp(-((lengths[0] - lengths[1]) ** 2) / 72) if robust else 1.0

    return [
        10
        * sum(
            cosine(candidate, reference, order) * penalty(candidate, reference) / 4
            for reference in captions
            for order in (1, 2, 3, 4)
        )
        / len(captions)
        for candidate, captions in zip(*corpus, strict=True)
    ]


@pytest.mark.parametrize("seed", range(150))
def test_equals_coco_caption(seed: int) -> None:
    candidates, references = random_corpus(seed)
    corpus, per_image = Cider().compute_score(*join(candidates, references))
    score = cider_d(index_captions(candidates, references))
    assert score.corpus == pytest.approx(corpus, rel=0, abs=1e-9)
    assert score.per_image == pytest.approx(per_image, rel=0, abs=1e-9)


def test_random_corpora_contain_the_hard_cases() -> None:
    corpora = [random_corpus(seed) for seed in range(150)]
    scores = [cider_d(index_captions(*corpus)).per_image for corpus in corpora]
    assert sum(((values > 0.5) & (values < 9.5)).any() for values in scores) > 75
    assert ([], []) in pairs(range(150))
    assert {70, 300} <= {len(candidate) for candidate, _ in pairs(range(150))}
    assert any(  # n-grams of weight 0
        len(references) in plain_frequencies(references).values() for _, references in corpora
    )


@pytest.mark.parametrize("seed", range(40))
def test_equals_a_plain_loop(seed: int) -> None:
    captions = random_corpus(seed)
    corpus = index_captions(*captions)
    own = DocumentFrequencies(len(captions[1]), plain_frequencies(captions[1]))
    assert cider(corpus).per_image == pytest.approx(
        plain_cider(captions, own, robust=False), rel=0, abs=1e-9
    )
    references = random_corpus(seed + 1)[1]  # document frequencies of another corpus
    others = DocumentFrequencies(len(references) + 3, plain_frequencies(references))
    for robust, metric in ((True, cider_d), (False, cider)):
        expected = plain_cider(captions, others, robust=robust)
        assert metric(corpus, others).per_image == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_document_frequencies_equal_a_plain_count(seed: int) -> None:
    captions = random_corpus(seed)
    frequencies = document_frequencies(index_captions(*captions))
    counts = plain_frequencies(captions[1])
    assert frequencies.num_images == len(captions[1])
    assert frequencies.counts == {ngram: count for ngram, count in counts.items() if count > 1}


@pytest.mark.parametrize("metric", [cider, cider_d])
def test_frequencies_of_the_references_change_nothing(metric: Any) -> None:
    corpus = index_captions(*random_corpus(7))
    frequencies = document_frequencies(corpus)
    assert metric(corpus, frequencies).per_image.tolist() == metric(corpus).per_image.tolist()


def test_a_caption_equal_to_its_only_reference_scores_ten() -> None:
    caption = ["a", "dog", "runs", "fast"]
    corpus = index_captions([caption, ["x"]], [[caption], [["y"]]])
    for score in (cider(corpus), cider_d(corpus)):
        assert score.per_image.tolist() == pytest.approx([10, 0], abs=1e-12)
        assert score.corpus == pytest.approx(5, abs=1e-12)


def test_by_hand() -> None:
    # Of two images, so that every n-gram has the weight log 2, which cancels in the cosine. "a" is
    # clipped to one: (1 * 1) / (2 * 1) for unigrams; no bigram matches; one word too many.
    corpus = index_captions([["a", "a"], ["x"]], [[["a"]], [["y"]]])
    expected = 10 * (1 / 2) / 4 * math.exp(-1 / 72)
    assert cider_d(corpus).per_image[0] == pytest.approx(expected, abs=1e-12)
    assert cider(corpus).per_image[0] == pytest.approx(10 / 4, abs=1e-12)


def test_a_single_image_scores_zero_without_other_frequencies() -> None:
    corpus = index_captions([["a", "dog"]], [[["a", "dog"]]])
    assert cider_d(corpus).corpus == cider(corpus).corpus == 0
    assert cider_d(corpus, DocumentFrequencies(2, {})).corpus == pytest.approx(10 / 2)


def test_an_ngram_of_all_images_has_weight_zero() -> None:
    for num_images in range(2, 60):  # exactly, whatever the number
        corpus = index_captions([["the"]] * num_images, [[["the"]]] * num_images)
        assert cider_d(corpus).per_image.tolist() == [0] * num_images


def test_order_of_images_and_references_does_not_matter() -> None:
    candidates, references = random_corpus(7)
    reversed_references = [captions[::-1] for captions in references[::-1]]
    for metric in (cider, cider_d):
        values = metric(index_captions(candidates, references)).per_image
        reordered = metric(index_captions(candidates[::-1], reversed_references)).per_image
        assert reordered[::-1] == pytest.approx(values, abs=1e-12)


def test_settings_name_what_could_change_the_score() -> None:
    corpus = index_captions(*random_corpus(7))
    count = f"images {corpus.num_images}"
    settings = "coco-caption's CIDEr | n 4, sigma 6, df from"
    assert cider_d(corpus).settings == f"{settings} the references | {count}"
    assert cider(corpus).settings == f"n 4, df from the references | {count}"
    frequencies = DocumentFrequencies(113287, {})
    assert cider_d(corpus, frequencies).settings == f"{settings} 113287 images | {count}"
    assert (cider_d(corpus).name, cider(corpus).name) == ("CIDEr-D", "CIDEr")


def content(**changes: object) -> str:
    """A valid file's text, except for what is changed."""
    valid = {
        "format": "vl document frequencies 1",
        "tokenizer": "ptb",
        "num_images": 5,
        "ngrams": {"a": 2},
    }
    return json.dumps(valid | changes)


def test_the_file_is_sorted_and_compressed_by_its_name(tmp_path: Path) -> None:
    expected = json.loads(content(num_images=12, ngrams={"a dog": 12, "grün": 3}))
    path = tmp_path / "new" / "f.json"
    frequencies = DocumentFrequencies(12, {"grün": 3, "a dog": 12})
    write_frequencies(path, frequencies)
    assert list(path.parent.iterdir()) == [path]
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written == expected
    assert list(written["ngrams"]) == ["a dog", "grün"]
    assert read_frequencies(path) == frequencies
    write_frequencies(tmp_path / "f.json.gz", frequencies)
    compressed = (tmp_path / "f.json.gz").read_bytes()
    assert json.loads(gzip.decompress(compressed)) == expected
    assert compressed[4:8] == bytes(4)  # no time stamp: equal frequencies, equal files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1 column 2"),
        ("[]", '"format"'),
        (content(format="vl document frequencies 2"), '"format"'),
        (content(extra=1), "extra"),
        (content(tokenizer="space"), '"tokenizer"'),
        (content(num_images=0), "num_images is 0"),
        (content(num_images=True), "num_images is True"),
        (content(ngrams=[]), "ngrams must be an object"),
        (content(ngrams={"a": 6}), "n-gram 'a': .* 6"),
        (content(ngrams={"a b": -1}), "n-gram 'a b': .* -1"),
        (content(ngrams={"a": 1.0}), "n-gram 'a': .* 1.0"),
        (content(ngrams={"a b c d e": 1}), "n-gram 'a b c d e': .* 1 to 4 words"),
        (content(ngrams={"a  b": 1}), "n-gram 'a  b': .* 1 to 4 words"),
    ],
)
def test_an_invalid_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "frequencies.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=message) as error:
        read_frequencies(path)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_frequencies_survive_a_round_trip(name: str, tmp_path: Path) -> None:
    frequencies = DocumentFrequencies(2, {"http://x.com/\ud83da": 2, "犬": 1, "a b c d": 0})
    write_frequencies(tmp_path / name, frequencies)
    assert read_frequencies(tmp_path / name) == frequencies
