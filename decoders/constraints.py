"""Constraints on captions as wrappers of a step: length, forbidden words, repetition, ensembles.

Each takes a step with its state and returns a step with its state; what a constraint must remember
of a caption it stores as parts of the state, so that the search reorders them. A constraint forbids
by minus infinity and does not renormalize: scores stay the decoder's.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vl.decoders.beam_search import State, Step


def ensemble(decoders: Sequence[tuple[Step, State]]) -> tuple[Step, State]:
    """An ensemble of decoders of one vocabulary: the mean of their probabilities at each step.

    Source:
        Vinyals et al. 2016 (PAMI), section 4.4.
    """
    if len(decoders) == 1:
        return decoders[0]
    sizes = [len(state) for _, state in decoders]

    def step(words: Tensor, state: State) -> tuple[Tensor, State]:
        member_log_probs: list[Tensor] = []
        after: list[Tensor] = []
        for (member, _), size in zip(decoders, sizes, strict=True):
            log_probs, member_state = member(words, state[len(after) : len(after) + size])
            member_log_probs.append(log_probs)
            after += member_state
        mean = torch.stack(member_log_probs).logsumexp(0) - math.log(len(member_log_probs))
        return mean, tuple(after)

    return step, tuple(part for _, state in decoders for part in state)


def forbid(step: Step, state: State, words: Sequence[int]) -> tuple[Step, State]:
    """Never generate these words."""
    forbidden = torch.tensor(list(words), dtype=torch.long)

    def wrapped(last: Tensor, state: State) -> tuple[Tensor, State]:
        log_probs, state = step(last, state)
        return log_probs.index_fill(1, forbidden.to(log_probs.device), -math.inf), state

    return wrapped, state


def minimum_length(step: Step, state: State, *, min_length: int, end: int) -> tuple[Step, State]:
    """Forbid the end word until a caption has ``min_length`` words."""

    def wrapped(last: Tensor, state: State) -> tuple[Tensor, State]:
        (*inner, length) = state
        log_probs, after = step(last, tuple(inner))
        log_probs = log_probs.clone()
        log_probs[:, end] = log_probs[:, end].masked_fill(length < min_length, -math.inf)
        return log_probs, (*after, length + 1)

    return wrapped, (*state, torch.zeros(len(state[0]), dtype=torch.long, device=state[0].device))


def no_repeated_ngram(step: Step, state: State, *, size: int) -> tuple[Step, State]:
    """Never repeat an n-gram of this size within a caption; size 1 forbids any word twice."""

    def wrapped(last: Tensor, state: State) -> tuple[Tensor, State]:
        (*inner, history) = state
        log_probs, after = step(last, tuple(inner))
        history = torch.cat([history, last[:, None]], 1)  # (N, t), the start word first
        if history.shape[1] > size:
            # Every n-gram whose first size - 1 words are the caption's last ones forbids its last
            # word. The start word comes once and begins no n-gram of words.
            grams = history[:, 1:].unfold(1, size, 1)  # (N, t - size, size)
            tail = history[:, history.shape[1] - size + 1 :]  # (N, size - 1)
            same = (grams[:, :, :-1] == tail[:, None, :]).all(2)  # (N, t - size)
            # Where nothing matches, the word is sent to an extra column that is cut off again.
            vocabulary = log_probs.shape[1]
            banned = torch.where(same, grams[:, :, -1], vocabulary)
            wide = torch.cat([log_probs, log_probs.new_zeros(len(log_probs), 1)], 1)
            log_probs = wide.scatter(1, banned, -math.inf)[:, :vocabulary]
        return log_probs, (*after, history)

    empty = torch.zeros(len(state[0]), 0, dtype=torch.long, device=state[0].device)
    return wrapped, (*state, empty)
