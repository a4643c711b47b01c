"""Captions drawn from a decoder, and how they are weighed."""

import pytest
import torch

from tests.decoders.test_beam_search import END, START, decoder, log_prob_after, table
from vl.decoders.self_critical import advantages, sample


def test_captions_are_drawn_from_the_decoders_own_distribution():
    log_probs = table(0, 1, 3)
    many = 20_000
    step, _ = decoder(log_probs)
    image = torch.zeros(many, dtype=torch.long)
    state = (image, image.clone(), torch.ones(many, dtype=torch.bool))
    generator = torch.Generator().manual_seed(0)
    drawn = sample(step, state, start=START, end=END, max_length=3, generator=generator)
    for first in range(1, 4):
        begins = drawn.words[:, 1] == first
        expected = log_probs[0, 0, first].exp().item()
        assert begins.float().mean().item() == pytest.approx(expected, abs=0.015)
        share = (drawn.words[begins, 2] == 2).float().mean().item()
        second = log_prob_after(log_probs, 0, (first,))[2].exp().item()
        assert share == pytest.approx(second, abs=0.03)


def test_a_drawn_caption_stops_at_its_end():
    step, state = decoder(table(1, 200, 5))
    drawn = sample(step, state, start=START, end=END, max_length=5)
    for words, length in zip(drawn.words.tolist(), drawn.lengths.tolist(), strict=True):
        assert words[0] == START
        assert END not in words[1 : length - 1]
        assert set(words[length:]) <= {END}
        assert words[length - 1] == END or length == 6


def test_advantages_are_against_the_mean_of_the_others():
    rewards = torch.tensor([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]])
    expected = torch.tensor([[1 - 4.0, 2 - 3.5, 6 - 1.5], [0.0, 0.0, 0.0]])
    assert torch.allclose(advantages(rewards), expected)


def test_one_caption_has_no_others():
    with pytest.raises(ValueError, match="draw at least 2"):
        advantages(torch.zeros(3, 1))
