"""Diversity against plain counting, against every pair compared, and on captions that are known."""

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
    """Captions of a few words, some empty, some said twice, many shorter than four words."""
    draw = random.Random(seed)
    vocabulary = "abcdef"[: draw.randint(1, 6)]
    longest = draw.choice([3, 6, 12])
    found = [
        draw.choices(vocabulary, k=draw.randint(0, longest)) for _ in range(draw.randint(2, 9))
    ]
    return found + draw.choices(found, k=draw.randint(0, 3))


def plain_self_bleu(captions: list[Words]) -> float:
    """Every caption against all others, by coco-caption's own counter."""
    sentences = [" ".join(caption) for caption in captions]
    scorer = BleuScorer(n=4)
    for number, sentence in enumerate(sentences):
        scorer += (sentence, sentences[:number] + sentences[number + 1 :])
    of_images: list[float] = scorer.compute_score(option="closest")[1][3]
    return sum(of_images) / len(of_images)


@pytest.mark.parametrize("seed", range(100))
def test_self_bleu_agrees_with_every_caption_against_all_others(seed: int) -> None:
    captions = captions_of(seed)
    assert diversity(captions).self_bleu == pytest.approx(plain_self_bleu(captions), abs=1e-9)


def test_the_random_captions_hold_the_hard_cases() -> None:
    corpora = [captions_of(seed) for seed in range(100)]
    assert any([] in captions for captions in corpora)
    assert any(len(set(map(tuple, captions))) < len(captions) for captions in corpora)
    assert any(0.1 < plain_self_bleu(captions) < 0.9 for captions in corpora)
    found = []  # lengths: the two closest others are as far, or the closest are on one side only
    for captions in corpora:
        lengths = Counter(map(len, captions))
        for length in (length for length, times in lengths.items() if times == 1):
            gaps = sorted((abs(other - length), other) for other in lengths if other != length)
            found.append("both" if len(gaps) > 1 and gaps[0][0] == gaps[1][0] else "one")
    assert set(found) == {"both", "one"}


@pytest.mark.parametrize("seed", range(20))
def test_counts_agree_with_plain_counting(seed: int) -> None:
    captions = captions_of(seed)
    singles = [word for caption in captions for word in caption]
    pairs = [pair for caption in captions for pair in pairwise(caption)]
    found = diversity(captions, training := captions_of(seed + 1))
    different = {tuple(caption) for caption in captions}
    assert found.captions == len(captions)
    assert found.distinct == len(different)
    assert found.word_types == len(set(singles))
    assert found.div_1 == (len(set(singles)) / len(singles) if singles else 0)
    assert found.div_2 == (len(set(pairs)) / len(pairs) if pairs else 0)
    novel = [caption for caption in captions if caption and caption not in training]
    assert found.novel == len(novel) / len(captions)
    most = max(different, key=lambda caption: captions.count(list(caption)))
    assert found.most_frequent_count == captions.count(list(most))
    assert captions.count(list(found.most_frequent)) == found.most_frequent_count
    assert found.mean_length == pytest.approx(len(singles) / len(captions))


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


def test_a_caption_of_fewer_than_four_words_has_next_to_no_bleu() -> None:
    found = diversity([["a", "dog"], ["a", "dog"]])
    assert found.self_bleu == pytest.approx(0, abs=2e-3)


def test_a_system_that_says_one_thing_only_has_self_bleu_one() -> None:
    found = diversity([["a", "man", "riding", "a", "wave"]] * 5)
    assert found.self_bleu == pytest.approx(1)
    assert (found.distinct, found.most_frequent_count) == (1, 5)


def test_captions_without_a_word_in_common_have_self_bleu_nought() -> None:
    found = diversity([list("abcdef"), list("ghijkl"), list("mnopqr")])
    assert found.self_bleu == pytest.approx(0, abs=1e-5)
    assert found.div_1 == found.div_2 == 1


def test_of_captions_said_equally_often_the_first_is_the_most_frequent() -> None:
    assert diversity([["b"], ["a"], ["a"], ["b"]]).most_frequent == ("b",)


def test_order_changes_nothing_but_ties() -> None:
    captions = captions_of(3)
    found, other = diversity(captions), diversity(captions[::-1])
    assert found.self_bleu == pytest.approx(other.self_bleu)
    assert found._replace(self_bleu=0, most_frequent=()) == other._replace(
        self_bleu=0, most_frequent=()
    )


def test_what_cannot_be_known_is_none() -> None:
    found = diversity([["a", "dog"]])
    assert found.self_bleu is None
    assert found.novel is None
    assert diversity([["a", "dog"]], []).novel == 1


def test_captions_without_words_are_captions() -> None:
    found = diversity([[], []])
    assert found == Diversity(2, 1, 0, 0.0, 0.0, 0.0, None, (), 2, 0.0)


def test_a_caption_without_words_is_not_novel() -> None:
    assert diversity([[], ["a"], ["b"], []], [["b"]]).novel == 1 / 4
    assert diversity([[]], []).novel == 0


def test_nothing_that_was_given_is_changed() -> None:
    captions, training = captions_of(0), captions_of(1)
    diversity(captions, training)
    assert captions == captions_of(0)
    assert training == captions_of(1)


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no caption to evaluate"):
        diversity([])
    message = "a caption must be a list of words, not the string 'a dog'"
    with pytest.raises(ValueError, match=message):
        diversity([["a", "cat"], "a dog"])
    with pytest.raises(ValueError, match=message):
        diversity([["a", "cat"]], ["a dog"])


@pytest.mark.slow
def test_googles_captions_are_as_varied_as_is_known(shared_data: Path) -> None:
    # Known of these: 6,301 different captions, 953 different words, the most_frequent said 693 times.
    # That is as they are split at spaces, with the full stop as a word.
    path = shared_data / "coco" / "captions_val2014_googlstm_results.json.gz"
    with gzip.open(path) as file:
        given = [result["caption"] for result in json.load(file)]
    found = diversity([caption.split() for caption in given])
    assert (found.captions, found.distinct, found.word_types) == (40_504, 6_301, 953)
    most_frequent = "a man standing on a tennis court holding a racquet ."
    assert " ".join(found.most_frequent) == most_frequent
    assert found.most_frequent_count == 693
    # Without full stops and commas, which are words no longer, fewer differ: our own count.
    found = diversity([words(caption) for caption in given])
    assert (found.distinct, found.word_types, found.most_frequent_count) == (6_234, 951, 693)
