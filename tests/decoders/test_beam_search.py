"""Beam search against a plain one, against enumeration, and known faults of other projects."""

import math
from itertools import product

import pytest
import torch

from vl.decoders.beam_search import Hypothesis, beam_search, top_words

VOCABULARY = 4
START, END = 3, 0
Captions = dict[tuple[int, ...], tuple[float, bool]]  # words -> log-probability, ended


def table(seed, images, max_length):
    """Log-probabilities of the next word after every history: not Markov, the state matters."""
    generator = torch.Generator().manual_seed(seed)
    histories = sum(VOCABULARY**length for length in range(max_length + 1))
    log_probs = 2 * torch.randn(images, histories, VOCABULARY, generator=generator)
    return log_probs.log_softmax(-1)


def decoder(log_probs):
    """A step over the table: the state is the image and the index of the history."""

    def step(words, state):
        image, history, fresh = state
        history = torch.where(fresh, 0, history * VOCABULARY + words + 1)
        return log_probs[image, history], (image, history, torch.zeros_like(fresh))

    images = len(log_probs)
    first = (torch.arange(images), torch.zeros(images, dtype=torch.long))
    return step, (*first, torch.ones(images, dtype=torch.bool))


def log_prob_after(log_probs, image, words):
    history = 0
    for word in words:
        history = history * VOCABULARY + word + 1
    return log_probs[image, history]


def search(step, state, num_beams, max_length, **options):
    options = {"num_beams": num_beams, "max_length": max_length, **options}
    return beam_search(step, state, start=START, end=END, **options)


def words_of(batch):
    return [[hypothesis.words for hypothesis in captions] for captions in batch]


def plain_search(log_probs, image, num_beams, max_length, penalty=0.0):
    """The definition, one image and one caption at a time, in double loops."""
    beam = [((), 0.0, False)]  # words with the end word, log-probability, done
    for _ in range(max_length):
        candidates = []
        for words, log_prob, done in beam:
            if done:
                candidates.append((words, log_prob, True))
                continue
            for word, increment in enumerate(log_prob_after(log_probs, image, words).tolist()):
                candidates.append(((*words, word), log_prob + increment, word == END))
        candidates.sort(key=lambda caption: -caption[1] / len(caption[0]) ** penalty)
        beam = candidates[:num_beams]
    beam.sort(key=lambda caption: (not caption[2], -caption[1] / len(caption[0]) ** penalty))
    return [(words[:-1] if done else words, value, done) for words, value, done in beam]


def every_caption(log_probs, image, max_length):
    """All captions: those that end, and those cut off at the maximum length."""
    captions: Captions = {}
    for length in range(max_length + 1):
        for words in product(range(1, VOCABULARY), repeat=length):
            log_prob = 0.0
            for index, word in enumerate(words):
                log_prob += log_prob_after(log_probs, image, words[:index])[word].item()
            if length < max_length:
                end = log_prob_after(log_probs, image, words)[END].item()
                captions[words] = (log_prob + end, True)
            else:
                captions[words] = (log_prob, False)
    return captions


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("num_beams", [1, 2, 3, 5])
@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_search_agrees_with_a_plain_one(seed, num_beams, penalty):
    images, max_length = 3, 4
    log_probs = table(seed, images, max_length)
    batch = search(*decoder(log_probs), num_beams, max_length, length_penalty=penalty)
    for image in range(images):
        plain = plain_search(log_probs, image, num_beams, max_length, penalty)
        assert [(h.words, h.ended) for h in batch[image]] == [(w, e) for w, _, e in plain]
        assert [h.log_prob for h in batch[image]] == pytest.approx(
            [p for _, p, _ in plain], abs=1e-5
        )


def test_double_precision():
    log_probs = table(0, 2, 4)
    single, double = (search(*decoder(values), 3, 4) for values in (log_probs, log_probs.double()))
    assert words_of(single) == words_of(double)


@pytest.mark.parametrize("seed", range(5))
def test_exhaustive_beam_finds_every_caption(seed):
    max_length = 3
    log_probs = table(seed, 2, max_length)
    batch = search(*decoder(log_probs), VOCABULARY**max_length, max_length)
    for image in range(2):
        expected = every_caption(log_probs, image, max_length)
        assert {h.words: h.ended for h in batch[image]} == {w: e for w, (_, e) in expected.items()}
        assert {h.words: h.log_prob for h in batch[image]} == pytest.approx(
            {w: p for w, (p, _) in expected.items()}, abs=1e-5
        )


def test_returns_captions_that_never_end():
    """The fault of sgrvinod/a-PyTorch-Tutorial-to-Image-Captioning#18: a crash."""

    def step(words, state):
        log_probs = torch.tensor([-math.inf, -0.5, -1.0, -2.0]).expand(len(words), -1)
        return log_probs, state

    (captions,) = search(step, (torch.zeros(1),), 2, 3)
    assert captions[0] == Hypothesis((1, 1, 1), pytest.approx(-1.5), ended=False)
    assert not any(h.ended for h in captions)


def test_keeps_a_caption_without_continuation():
    def step(words, state):
        log_probs = torch.full((len(words), VOCABULARY), -math.inf)
        log_probs[words == START, 1] = -0.5
        return log_probs, state

    (captions,) = search(step, (torch.zeros(1),), 2, 4)
    assert captions == [Hypothesis((1,), -0.5, ended=False)]


def test_ended_captions_are_not_stepped():
    rows = []

    def step(words, state):
        rows.append(len(words))
        log_probs = torch.tensor([[-0.1, -3.0, -4.0, -5.0]]).expand(len(words), -1)
        return log_probs, state

    search(step, (torch.zeros(2),), 2, 9)
    assert rows == [2, 2]  # after two steps both beams of both images have ended


def test_empty_batch():
    assert search(*decoder(table(0, 1, 2)[:0]), 2, 2) == []


@pytest.mark.parametrize("vocabulary", [5, 64, 1000, 12_345])
@pytest.mark.parametrize("k", [1, 3, 20])
def test_top_words_equal_topk(vocabulary, k):
    k = min(k, vocabulary)
    log_probs = torch.randn(9, vocabulary, generator=torch.Generator().manual_seed(vocabulary))
    log_probs[0, -1] = 9.0  # in the tail after the last block
    log_probs[1] = -math.inf
    log_probs[2, : vocabulary // 2] = log_probs[2].max()  # equal values
    best, word = top_words(log_probs, k)
    assert torch.equal(best, log_probs.topk(k).values)
    assert torch.equal(log_probs.gather(1, word), best)
    assert all(len(set(row)) == k for row in word.tolist())


@pytest.mark.parametrize("vocabulary", [4, 12_000])
def test_refuses_nan(vocabulary):
    def step(words, state):
        log_probs = torch.zeros(len(words), vocabulary)
        log_probs[0, vocabulary // 2] = math.nan
        return log_probs, state

    with pytest.raises(ValueError, match="NaN"):
        search(step, (torch.zeros(1),), 2, 2)
