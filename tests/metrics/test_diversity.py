"""Diversity against plain counting, by hand, and on published captions."""

import gzip
import json
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from pycocoevalcap.bleu.bleu_scorer import BleuScorer

from vl.data.captions.ptb.tokens import words
from vl.metrics.diversity import Diversity, diversity

Words = list[str]


def captions_of(seed: int) -> list[Words]:
    """Captions of a few words, some empty, some repeated, many shorter than four words."""
    rng = random.Random(seed)
    vocabulary = "abcdef"[: rng.randint(1, 6)]
    longest = rng.choice([3, 6, 12])
    result = [rng.choices(vocabulary, k=rng.randint(0, longest)) for _ in range(rng.randint(2, 9))]
    return result + rng.choices(result, k=rng.randint(0, 3))


def plain_self_bleu(captions: list[Words]) -> float:
    """Every caption against all others, by coco-caption's own counter."""
    sentences = [" ".join(caption) for caption in captions]
    scorer = BleuScorer(n=4)
    for number, sentence in enumerate(sentences):
        scorer += (sentence, sentences[:number] + sentences[number + 1 :])
    of_images: list[float] = scorer.compute_score(option="closest")[1][3]
    return sum(of_images) / len(of_images)


@pytest.mark.parametrize("seed", range(100))
def test_self_bleu_equals_every_caption_against_all_others(seed: int) -> None:
    captions = captions_of(seed)
    assert diversity(captions).self_bleu == pytest.approx(plain_self_bleu(captions), abs=1e-9)


def test_random_captions_contain_the_hard_cases() -> None:
    corpora = [captions_of(seed) for seed in range(100)]
    assert any([] in captions for captions in corpora)
    assert any(len(set(map(tuple, captions))) < len(captions) for captions in corpora)
    assert any(0.1 < plain_self_bleu(captions) < 0.9 for captions in corpora)
    result = []  # lengths: the two closest others are as far, or the closest are on one side only
    for captions in corpora:
        lengths = Counter(map(len, captions))
        for length in (length for length, times in lengths.items() if times == 1):
            gaps = sorted((abs(other - length), other) for other in lengths if other != length)
            result.append("both" if len(gaps) > 1 and gaps[0][0] == gaps[1][0] else "one")
    assert set(result) == {"both", "one"}


@pytest.mark.parametrize("seed", range(20))
def test_counts_equal_plain_counting(seed: int) -> None:
    captions = captions_of(seed)
    singles = [word for caption in captions for word in caption]
    pairs = [pair for caption in captions for pair in pairwise(caption)]
    result = diversity(captions, training := captions_of(seed + 1))
    different = {tuple(caption) for caption in captions}
    assert result.captions == len(captions)
    assert result.distinct == len(different)
    assert result.word_types == len(set(singles))
    assert result.div_1 == (len(set(singles)) / len(singles) if singles else 0)
    assert result.div_2 == (len(set(pairs)) / len(pairs) if pairs else 0)
    novel = [caption for caption in captions if caption and caption not in training]
    assert result.novel == len(novel) / len(captions)
    most = max(different, key=lambda caption: captions.count(list(caption)))
    assert result.most_frequent_count == captions.count(list(most))
    assert captions.count(list(result.most_frequent)) == result.most_frequent_count
    assert result.mean_length == pytest.approx(len(singles) / len(captions))


def test_counts_by_hand() -> None:
    captions = [list("abcde"), list("abcde"), list("abcdfg")]
    # Of the third's runs of one to four words, another holds 4 of 6, 3 of 5, 2 of 4 and 1 of 3;
    # it is longer than both, which costs nothing.
    third = (4 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4)
    assert diversity(captions, [list("abcdfg"), list("dogs")]) == Diversity(
        captions=3,
        distinct=2,
        word_types=7,
        div_1=7 / 16,
        div_2=6 / 13,  # ab bc cd de df fg
        self_bleu=pytest.approx((1 + 1 + third) / 3),
        novel=2 / 3,
        most_frequent=("a", "b", "c", "d", "e"),
        most_frequent_count=2,
        mean_length=16 / 3,
    )


def test_self_bleu_of_extremes() -> None:
    repeated = diversity([["a", "man", "riding", "a", "wave"]] * 5)
    assert repeated.self_bleu == pytest.approx(1)
    assert (repeated.distinct, repeated.most_frequent_count) == (1, 5)
    short = diversity([["a", "dog"], ["a", "dog"]])  # without an n-gram of four words
    assert short.self_bleu == pytest.approx(0, abs=2e-3)
    different = diversity([list("abcdef"), list("ghijkl"), list("mnopqr")])
    assert different.self_bleu == pytest.approx(0, abs=1e-5)
    assert different.div_1 == different.div_2 == 1


def test_the_first_of_equally_frequent_captions_is_the_most_frequent() -> None:
    assert diversity([["b"], ["a"], ["a"], ["b"]]).most_frequent == ("b",)


def test_no_caption_is_refused() -> None:
    with pytest.raises(ValueError, match="no caption"):
        diversity([])


def test_undefined_values_are_none() -> None:
    result = diversity([["a", "dog"]])
    assert result.self_bleu is None
    assert result.novel is None
    assert diversity([["a", "dog"]], []).novel == 1


def test_empty_captions_count_as_captions() -> None:
    result = diversity([[], []])
    assert result == Diversity(2, 1, 0, 0.0, 0.0, 0.0, None, (), 2, 0.0)
    assert diversity([[], ["a"], ["b"], []], [["b"]]).novel == 1 / 4


@pytest.mark.slow
def test_published_captions(shared_data: Path) -> None:
    # Published: 6,301 distinct captions, 953 distinct words, the most frequent one 693 times, split
    # at spaces, with the full stop as a word.
    path = shared_data / "coco" / "captions_val2014_googlstm_results.json.gz"
    with gzip.open(path) as file:
        captions = [result["caption"] for result in json.load(file)]
    result = diversity([caption.split() for caption in captions])
    assert (result.captions, result.distinct, result.word_types) == (40_504, 6_301, 953)
    most_frequent = "a man standing on a tennis court holding a racquet ."
    assert " ".join(result.most_frequent) == most_frequent
    assert result.most_frequent_count == 693
    # Without full stops and commas fewer are distinct: our own count.
    result = diversity([words(caption) for caption in captions])
    assert (result.distinct, result.word_types, result.most_frequent_count) == (6_234, 951, 693)
