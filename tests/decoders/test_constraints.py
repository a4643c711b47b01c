"""Rules of language: what each forbids, and that it changes nothing else."""

import math
from itertools import pairwise

import pytest
import torch

from tests.decoders.test_beam_search import END, START, decoder, table
from vl.decoders import constraints as rules
from vl.decoders.beam_search import beam_search

SEARCH = {"start": START, "end": END, "width": 4, "max_length": 5}


def plain(seed=0, images=8):
    return decoder(table(seed, images, 5))


@pytest.mark.parametrize("seed", range(5))
def test_a_forbidden_word_is_never_said(seed):
    step, state = rules.forbid(*plain(seed), [1])
    found = beam_search(step, state, **SEARCH)
    assert found
    assert not any(1 in h.words for each in found for h in each)


@pytest.mark.parametrize("least", [1, 3])
def test_no_caption_ends_before_the_least_length(least):
    step, state = rules.minimum_length(*plain(), words=least, end=END)
    lengths = [len(h.words) for each in beam_search(step, state, **SEARCH) for h in each]
    assert min(lengths) == least


def test_a_least_length_of_zero_changes_nothing():
    step, state = rules.minimum_length(*plain(), words=0, end=END)
    assert beam_search(step, state, **SEARCH) == beam_search(*plain(), **SEARCH)


def test_no_word_follows_itself():
    def repeats(found):
        return any(a == b for each in found for h in each for a, b in pairwise(h.words))

    assert repeats(beam_search(*plain(), **SEARCH))
    assert not repeats(beam_search(*rules.no_immediate_repetition(*plain()), **SEARCH))


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_no_ngram_comes_twice(size, seed):
    def repeats(found):
        grams = [
            [h.words[i : i + size] for i in range(len(h.words) - size + 1)]
            for each in found
            for h in each
        ]
        return any(len(set(each)) < len(each) for each in grams)

    search = {**SEARCH, "width": 20}
    log_probs = table(seed, 8, 5).clone()
    log_probs[:, :, 1] += 3  # one word is liked too much
    assert repeats(beam_search(*decoder(log_probs), **search))
    assert not repeats(
        beam_search(*rules.no_repeated_ngram(*decoder(log_probs), size=size), **search)
    )


def test_blocking_forbids_only_what_would_repeat():
    """Against a plain check of every caption: scores stay, only repeating captions go."""
    log_probs = table(3, 1, 4)
    wide = {"start": START, "end": END, "width": 4**4, "max_length": 4}
    (every,) = beam_search(*decoder(log_probs), **wide)
    (kept,) = beam_search(*rules.no_repeated_ngram(*decoder(log_probs), size=2), **wide)
    grams = {h.words: list(pairwise(h.words)) for h in every}
    expected = {
        h.words: h.log_prob for h in every if len(set(grams[h.words])) == len(grams[h.words])
    }
    assert {h.words: h.log_prob for h in kept} == pytest.approx(expected, abs=1e-6)


def test_the_rules_work_together_and_the_state_stays_sorted():
    step, state = rules.ensemble([plain(0), plain(1)])
    step, state = rules.minimum_length(step, state, words=2, end=END)
    step, state = rules.no_repeated_ngram(step, state, size=1)
    for each in beam_search(step, state, **SEARCH):
        for h in each:
            assert len(set(h.words)) == len(h.words) >= 2


def test_an_ensemble_is_the_mean_of_probabilities():
    first, second = table(0, 1, 5), table(1, 1, 5)
    step, state = rules.ensemble([decoder(first), decoder(second)])
    log_probs, _ = step(torch.tensor([START]), state)
    assert log_probs.exp() == pytest.approx((first[:, 0].exp() + second[:, 0].exp()) / 2)
    mixed = ((first.exp() + second.exp()) / 2).log()
    assert [[h.words for h in each] for each in beam_search(step, state, **SEARCH)] == [
        [h.words for h in each] for each in beam_search(*decoder(mixed), **SEARCH)
    ]


def test_an_ensemble_of_one_twice_is_itself():
    twice = rules.ensemble([plain(), plain()])
    for one, other in zip(
        beam_search(*twice, **SEARCH), beam_search(*plain(), **SEARCH), strict=True
    ):
        assert [h.words for h in one] == [h.words for h in other]


def test_decoders_of_different_vocabularies_cannot_vote():
    def narrow(words, state):
        return torch.zeros(len(words), 3), state

    step, state = rules.ensemble([plain(images=1), (narrow, (torch.zeros(1),))])
    with pytest.raises(ValueError, match="4 and 3 words cannot vote"):
        step(torch.tensor([START]), state)


def test_an_ensemble_needs_a_decoder():
    with pytest.raises(ValueError, match="at least one decoder"):
        rules.ensemble([])


def test_a_rule_does_not_write_into_the_steps_own_tensor():
    log_probs = torch.zeros(1, 4)

    def step(words, state):
        return log_probs, state

    state = (torch.zeros(1),)
    for wrapped, own in (
        rules.forbid(step, state, [1]),
        rules.minimum_length(step, state, words=2, end=END),
        rules.no_immediate_repetition(step, state),
        rules.no_repeated_ngram(step, state, size=1),
    ):
        _, own = wrapped(torch.tensor([START]), own)
        wrapped(torch.tensor([1]), own)
    assert torch.equal(log_probs, torch.zeros(1, 4))
    assert not math.isinf(log_probs.sum())


def test_an_ngram_of_no_words_is_refused():
    with pytest.raises(ValueError, match="at least one word, not 0"):
        rules.no_repeated_ngram(*plain(), size=0)
