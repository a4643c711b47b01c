"""Captions sampled from a decoder, and their advantages."""

import pytest
import torch

from tests.decoders.test_beam_search import END, START, decoder, log_prob_after, table
from vl.decoders.self_critical import advantages, sample_captions


def test_samples_follow_the_decoders_distribution():
    log_probs = table(0, 1, 3)
    count = 20_000
    step, _ = decoder(log_probs)
    image = torch.zeros(count, dtype=torch.long)
    state = (image, image.clone(), torch.ones(count, dtype=torch.bool))
    generator = torch.Generator().manual_seed(0)
    captions = sample_captions(step, state, start=START, end=END, max_length=3, generator=generator)
    for first in range(1, 4):
        begins = captions.words[:, 1] == first
        expected = log_probs[0, 0, first].exp().item()
        assert begins.float().mean().item() == pytest.approx(expected, abs=0.015)
        share = (captions.words[begins, 2] == 2).float().mean().item()
        second = log_prob_after(log_probs, 0, (first,))[2].exp().item()
        assert share == pytest.approx(second, abs=0.03)


def test_samples_stop_at_the_end_word():
    step, state = decoder(table(1, 200, 5))
    captions = sample_captions(step, state, start=START, end=END, max_length=5)
    for words, length in zip(captions.words.tolist(), captions.lengths.tolist(), strict=True):
        assert words[0] == START
        assert END not in words[1 : length - 1]
        assert set(words[length:]) <= {END}
        assert words[length - 1] == END or length == 6


def test_advantages_are_relative_to_the_mean_of_the_others():
    rewards = torch.tensor([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]])
    expected = torch.tensor([[1 - 4.0, 2 - 3.5, 6 - 1.5], [0.0, 0.0, 0.0]])
    assert torch.allclose(advantages(rewards), expected)
