"""Constraints: what each forbids, and that it changes nothing else."""

from itertools import pairwise

import pytest
import torch

from tests.decoders.test_beam_search import END, START, decoder, table
from vl.decoders import constraints
from vl.decoders.beam_search import beam_search

SEARCH = {"start": START, "end": END, "num_beams": 4, "max_length": 5}


def plain(seed=0, images=8):
    return decoder(table(seed, images, 5))


def captions_of(constrained, **changes):
    step, state = constrained
    return [h for captions in beam_search(step, state, **{**SEARCH, **changes}) for h in captions]


def words_of(constrained):
    return [h.words for h in captions_of(constrained)]


@pytest.mark.parametrize("seed", range(5))
def test_forbidden_words_are_never_generated(seed):
    captions = words_of(constraints.forbid(*plain(seed), [1]))
    assert captions and not any(1 in words for words in captions)


@pytest.mark.parametrize("least", [1, 3])
def test_no_caption_is_shorter_than_the_minimum_length(least):
    constrained = constraints.minimum_length(*plain(), min_length=least, end=END)
    assert min(map(len, words_of(constrained))) == least


def test_minimum_length_0_changes_nothing():
    constrained = constraints.minimum_length(*plain(), min_length=0, end=END)
    assert captions_of(constrained) == captions_of(plain())


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_no_ngram_is_repeated(size, seed):
    def repeats(captions):
        ngrams = [[h.words[i : i + size] for i in range(len(h.words) - size + 1)] for h in captions]
        return any(len(set(grams)) < len(grams) for grams in ngrams)

    log_probs = table(seed, 8, 5).clone()
    log_probs[:, :, 1] += 3  # one word is much likelier than the others
    constrained = constraints.no_repeated_ngram(*decoder(log_probs), size=size)
    assert repeats(captions_of(decoder(log_probs), num_beams=20))
    assert not repeats(captions_of(constrained, num_beams=20))


def test_no_repeated_ngram_forbids_nothing_else():
    """Against a plain check of every caption: scores stay, only repeating captions go."""
    log_probs = table(3, 1, 4)
    wide = {"num_beams": 4**4, "max_length": 4}
    constrained = constraints.no_repeated_ngram(*decoder(log_probs), size=2)
    expected = {
        h.words: h.log_prob
        for h in captions_of(decoder(log_probs), **wide)
        if len(set(pairwise(h.words))) == len(list(pairwise(h.words)))
    }
    captions = {h.words: h.log_prob for h in captions_of(constrained, **wide)}
    assert captions == pytest.approx(expected, abs=1e-6)


def test_constraints_compose():
    step, state = constraints.ensemble([plain(0), plain(1)])
    step, state = constraints.minimum_length(step, state, min_length=2, end=END)
    for words in words_of(constraints.no_repeated_ngram(step, state, size=1)):
        assert len(set(words)) == len(words) >= 2


def test_ensemble_is_the_mean_of_probabilities():
    first, second = table(0, 1, 5), table(1, 1, 5)
    step, state = constraints.ensemble([decoder(first), decoder(second)])
    log_probs, _ = step(torch.tensor([START]), state)
    assert log_probs.exp() == pytest.approx((first[:, 0].exp() + second[:, 0].exp()) / 2)
    mean = ((first.exp() + second.exp()) / 2).log()
    assert words_of((step, state)) == words_of(decoder(mean))


def test_ensemble_of_equal_decoders_is_the_decoder():
    assert words_of(constraints.ensemble([plain(), plain()])) == words_of(plain())


def test_constraints_do_not_write_into_the_steps_tensor():
    log_probs = torch.zeros(1, 4)

    def step(words, state):
        return log_probs, state

    state = (torch.zeros(1),)
    for constrained, inner in (
        constraints.forbid(step, state, [1]),
        constraints.minimum_length(step, state, min_length=2, end=END),
        constraints.no_repeated_ngram(step, state, size=1),
    ):
        _, inner = constrained(torch.tensor([START]), inner)
        constrained(torch.tensor([1]), inner)
    assert torch.equal(log_probs, torch.zeros(1, 4))
