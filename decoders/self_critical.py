"""Self-critical training: a decoder learns from its own captions and what they score (Rennie 2017).

It knows ids only; what a caption is worth is the caller's.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vl.decoders.beam_search import State, Step


class Sample(NamedTuple):
    """Captions drawn from a decoder."""

    words: Tensor  # (N, 1 + T) int64, the start word first, the end word as padding
    lengths: Tensor  # (N,) int64, start and end counted; without end where it never came


@torch.no_grad()
def sample(
    step: Step,
    state: State,
    *,
    start: int,
    end: int,
    max_length: int,
    generator: torch.Generator | None = None,
) -> Sample:
    """Draw a caption for each row of the state, word by word from the step's own probabilities.

    Args:
        step: says the log-probability of each next word.
        state: each part ``(N, ...)``.
        start: the word that opens a caption.
        end: the word that closes it.
        max_length: greatest number of words after the start, the end counted.
        generator: of the drawing.
    """
    count, device = len(state[0]), state[0].device
    word = torch.full((count,), start, dtype=torch.long, device=device)
    alive = torch.ones(count, dtype=torch.bool, device=device)
    lengths = torch.ones(count, dtype=torch.long, device=device)
    words = [word]
    for _ in range(max_length):
        log_probs, state = step(word, state)
        drawn = log_probs.float().exp().multinomial(1, generator=generator).squeeze(1)
        word = torch.where(alive, drawn, end)
        words.append(word)
        lengths += alive
        alive &= word != end
        if not bool(alive.any()):
            break
    return Sample(torch.stack(words, 1), lengths)


def advantages(rewards: Tensor) -> Tensor:
    """How much better each caption is than the mean of the others of its image.

    Args:
        rewards: ``(B, S)``, S captions drawn for each image.

    Returns:
        ``(B, S)``; each row sums to 0.

    Raises:
        ValueError: there is one caption only, so there are no others.

    Source:
        Rennie et al. 2017 take the greedy caption's reward as the baseline; the mean of the other
        samples (Kool et al. 2019) needs no search.
    """
    count = rewards.shape[1]
    if count < 2:
        raise ValueError("a caption is compared with others of its image: draw at least 2")
    return (rewards - rewards.mean(1, keepdim=True)) * (count / (count - 1))
