"""Self-critical training: REINFORCE on captions sampled from the decoder (Rennie et al. 2017).

It knows word ids only; the reward of a caption is the caller's.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vl.decoders.beam_search import State, Step


class SampledCaptions(NamedTuple):
    """Captions sampled from a decoder."""

    words: Tensor  # (N, 1 + T) int64, the start word first, padded with the end word
    lengths: Tensor  # (N,) int64, counting the start word, and the end word if it came


@torch.no_grad()
def sample_captions(
    step: Step,
    state: State,
    *,
    start: int,
    end: int,
    max_length: int,
    generator: torch.Generator | None = None,
) -> SampledCaptions:
    """Sample a caption for each row of the state, word by word from the step's probabilities.

    The arguments are as in ``beam_search``.
    """
    count, device = len(state[0]), state[0].device
    word = torch.full((count,), start, dtype=torch.long, device=device)
    live = torch.ones(count, dtype=torch.bool, device=device)
    lengths = torch.ones(count, dtype=torch.long, device=device)
    words = [word]
    for _ in range(max_length):
        log_probs, state = step(word, state)
        sample = log_probs.float().exp().multinomial(1, generator=generator).squeeze(1)
        word = torch.where(live, sample, end)
        words.append(word)
        lengths += live
        live &= word != end
        if not bool(live.any()):
            break
    return SampledCaptions(torch.stack(words, 1), lengths)


def advantages(rewards: Tensor) -> Tensor:
    """The reward of each caption minus the mean reward of the image's other captions.

    Args:
        rewards: ``(B, S)``, of S > 1 sampled captions per image.

    Returns:
        ``(B, S)``; each row sums to 0.

    Source:
        Rennie et al. 2017 take the greedy caption's reward as the baseline; the mean of the other
        samples (Kool et al. 2019) needs no search.
    """
    count = rewards.shape[1]
    return (rewards - rewards.mean(1, keepdim=True)) * (count / (count - 1))
