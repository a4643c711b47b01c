"""Rules of language as wrappers of a step: length, forbidden words, repetition, ensembles.

Each takes a step with its state and gives a step with its state; what a rule must remember of a
caption it keeps as parts of the state, so that the search moves them along. A rule forbids by
minus infinity and does not spread the lost probability: scores stay the decoder's own.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vl.decoders.beam_search import State, Step


def ensemble(parts: Sequence[tuple[Step, State]]) -> tuple[Step, State]:
    """Decoders that vote: the mean of their probabilities at each step.

    Raises:
        ValueError: there is none, or their vocabularies differ.

    Source:
        Vinyals et al. 2016 (PAMI), section 4.4.
    """
    if not parts:
        raise ValueError("an ensemble needs at least one decoder")
    if len(parts) == 1:
        return parts[0]
    sizes = [len(state) for _, state in parts]

    def step(words: Tensor, state: State) -> tuple[Tensor, State]:
        votes: list[Tensor] = []
        after: list[Tensor] = []
        begin = 0
        for (each, _), size in zip(parts, sizes, strict=True):
            log_probs, own = each(words, state[begin : begin + size])
            if votes and log_probs.shape != votes[0].shape:
                raise ValueError(
                    f"vocabularies of {votes[0].shape[1]} and {log_probs.shape[1]} words cannot vote"
                )
            votes.append(log_probs)
            after += own
            begin += size
        return torch.stack(votes).logsumexp(0) - math.log(len(votes)), tuple(after)

    return step, tuple(part for _, state in parts for part in state)


def forbid(step: Step, state: State, words: Sequence[int]) -> tuple[Step, State]:
    """These words are never said."""
    forbidden = torch.tensor(list(words), dtype=torch.long)

    def wrapped(said: Tensor, state: State) -> tuple[Tensor, State]:
        log_probs, state = step(said, state)
        return log_probs.index_fill(1, forbidden.to(log_probs.device), -math.inf), state

    return wrapped, state


def minimum_length(step: Step, state: State, *, words: int, end: int) -> tuple[Step, State]:
    """The end word is forbidden until ``words`` others have been said."""

    def wrapped(said: Tensor, state: State) -> tuple[Tensor, State]:
        (*inner, spoken) = state
        log_probs, after = step(said, tuple(inner))
        log_probs = log_probs.clone()
        log_probs[:, end] = log_probs[:, end].masked_fill(spoken < words, -math.inf)
        return log_probs, (*after, spoken + 1)

    return wrapped, (*state, torch.zeros(len(state[0]), dtype=torch.long, device=state[0].device))


def no_immediate_repetition(step: Step, state: State) -> tuple[Step, State]:
    """A word is not followed by itself."""

    def wrapped(said: Tensor, state: State) -> tuple[Tensor, State]:
        log_probs, state = step(said, state)
        return log_probs.scatter(1, said[:, None], -math.inf), state

    return wrapped, state


def no_repeated_ngram(step: Step, state: State, *, size: int) -> tuple[Step, State]:
    """No ``size`` words follow each other twice in a caption; size 1 forbids any word twice.

    Raises:
        ValueError: the size is below 1.
    """
    if size < 1:
        raise ValueError(f"an n-gram has at least one word, not {size}")

    def wrapped(said: Tensor, state: State) -> tuple[Tensor, State]:
        (*inner, history) = state
        log_probs, after = step(said, tuple(inner))
        history = torch.cat([history, said[:, None]], 1)  # (N, t), the start word first
        if history.shape[1] > size:
            # Every n-gram whose first size - 1 words are the last ones said forbids its last word.
            # The start word is said once and begins no n-gram of words.
            grams = history[:, 1:].unfold(1, size, 1)  # (N, t - size, size)
            tail = history[:, history.shape[1] - size + 1 :]  # (N, size - 1)
            same = (grams[:, :, :-1] == tail[:, None, :]).all(2)  # (N, t - size)
            # Where nothing matches, the word is sent to an extra column that is cut off again.
            vocabulary = log_probs.shape[1]
            banned = torch.where(same, grams[:, :, -1], vocabulary)
            wide = torch.cat([log_probs, log_probs.new_zeros(len(log_probs), 1)], 1)
            log_probs = wide.scatter(1, banned, -math.inf)[:, :vocabulary]
        return log_probs, (*after, history)

    nothing = torch.zeros(len(state[0]), 0, dtype=torch.long, device=state[0].device)
    return wrapped, (*state, nothing)
