"""Beam search over any decoder that gives the log-probabilities of the next word.

It knows nothing of LSTMs or images, and no constraint on captions: constraints.py wraps the step.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

State = tuple[Tensor, ...]  # each (N, ...): row n belongs to live beam n
Step = Callable[[Tensor, State], tuple[Tensor, State]]  # (N,) words -> (N, V) log-probs, State

_BLOCK = 64  # words a block in `top_words`


class Hypothesis(NamedTuple):
    """A caption from the search."""

    words: tuple[int, ...]  # without start and end word
    log_prob: float  # nats, including the end word's if there is one
    ended: bool  # False: cut off at max_length, or no word could follow, before the end word


@torch.inference_mode()
def beam_search(
    step: Step,
    state: State,
    *,
    start: int,
    end: int,
    num_beams: int,
    max_length: int,
    length_penalty: float = 0.0,
) -> list[list[Hypothesis]]:
    """The best captions of each image, in a batch of images.

    At every length each live beam of an image is continued by every word, and the best
    ``num_beams`` candidates stay, finished ones among them: a finished caption keeps its beam
    until a better one replaces it. The search of an image is over when all its beams are finished.

    Args:
        step: log-probabilities of the next word; minus infinity forbids a word.
        state: of the ``B`` images before any word, each part ``(B, ...)``.
        start: the word that opens a caption; passed to the step, never returned.
        end: the word that closes a caption; never returned.
        num_beams: captions per image; 1 is greedy search.
        max_length: maximum number of words after the start word, including the end word.
        length_penalty: captions are compared by log-probability / length ** length_penalty, the
            length including the end word; 0 compares log-probabilities, 1 the mean per word.

    Returns:
        For each image at most ``num_beams`` distinct captions: ended ones first, then by score.
        There are fewer only where fewer are possible.

    Raises:
        ValueError: the step gives NaN.

    Source:
        Vinyals et al. 2015, section 3.1.2.
    """
    images, device = len(state[0]), state[0].device
    # Each image has `num_beams` beams. A beam is empty (log-prob minus infinity), live (its row in
    # the state is the count of live beams before it) or done.
    beams = images, num_beams
    log_prob = torch.full(beams, -math.inf, device=device)
    log_prob[:, 0] = 0.0  # a single beam: equal beginnings would give equal captions
    length = torch.zeros(beams, dtype=torch.long, device=device)
    done = torch.zeros(beams, dtype=torch.bool, device=device)
    ended = torch.zeros_like(done)
    words = torch.full((*beams, max_length), end, dtype=torch.long, device=device)
    last = torch.full((images,), start, dtype=torch.long, device=device)
    live: tuple[Tensor, ...] = (torch.arange(images, device=device), torch.zeros_like(last))
    for position in range(max_length):
        log_probs, state = step(last, state)  # (N, V)
        best, word = top_words(log_probs, min(num_beams, log_probs.shape[1]))  # (N, k)
        done[live] = best[:, 0] == -math.inf  # nothing can follow
        # Candidates of an image: every live beam continued in k ways, then every done beam.
        continued = _of_all_beams(log_prob[live][:, None] + best, live, beams, fill=-math.inf)
        finished = log_prob.masked_fill(~done, -math.inf)
        candidate = score = torch.cat([continued, finished], 1)  # (B, num_beams (k + 1))
        if length_penalty:
            lengths = length.clamp(min=1) ** length_penalty
            score = torch.cat([continued / (position + 1) ** length_penalty, finished / lengths], 1)
        choice = score.topk(num_beams).indices  # (B, num_beams)
        grows = choice < continued.shape[1]
        parent = torch.where(grows, choice // best.shape[1], choice - continued.shape[1])
        next_word = _of_all_beams(word, live, beams, fill=end)
        next_word = next_word.gather(1, choice.clamp(max=continued.shape[1] - 1))
        log_prob = candidate.gather(1, choice)
        grows &= log_prob > -math.inf
        length = length.gather(1, parent) + grows
        words = words.gather(1, parent[:, :, None].expand_as(words))
        words[:, :, position] = torch.where(grows, next_word, end)
        ended = torch.where(grows, next_word == end, ended.gather(1, parent))
        done = ~grows | ended
        row = _of_all_beams(torch.arange(len(last), device=device)[:, None], live, beams, fill=0)
        live = (~done).nonzero(as_tuple=True)
        last = next_word[live]
        if len(last) == 0:
            break
        order = row.gather(1, parent)[live]  # (N,): row of each beam's parent
        state = tuple(part[order] for part in state)
    return _hypotheses(words, length, log_prob, ended, length_penalty)


def _of_all_beams(
    values: Tensor, live: tuple[Tensor, ...], beams: tuple[int, int], *, fill: float
) -> Tensor:
    """Values of live beams, ``(N, k)``, among those of all, ``(B, num_beams k)``."""
    spread = values.new_full((*beams, values.shape[1]), fill)
    spread[live] = values
    return spread.flatten(1)


def top_words(log_probs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` greatest of each row, ``(N, V)`` to two ``(N, k)``: values and words, best first.

    Equal to ``log_probs.topk(k)`` up to the order of equal values, but faster for a large
    vocabulary: the greatest k lie in the k blocks with the greatest maxima, and maxima are quick.

    Raises:
        ValueError: there is a NaN among them.
    """
    rows, vocabulary = log_probs.shape
    blocks = vocabulary // _BLOCK
    if blocks < 4 * k:  # too few for blocks to pay
        best, word = log_probs.topk(k)
    else:
        cut = blocks * _BLOCK
        grid = log_probs[:, :cut].reshape(rows, blocks, _BLOCK)
        block = grid.amax(2).topk(k).indices  # (N, k)
        inside = grid.gather(1, block[:, :, None].expand(-1, -1, _BLOCK)).flatten(1)
        inside_words = (
            block[:, :, None] * _BLOCK + torch.arange(_BLOCK, device=log_probs.device)
        ).flatten(1)
        tail = torch.arange(cut, vocabulary, device=log_probs.device).expand(rows, -1)
        best, index = torch.cat([inside, log_probs[:, cut:]], 1).topk(k)
        word = torch.cat([inside_words, tail], 1).gather(1, index)
    if best.isnan().any():  # topk puts NaN first
        raise ValueError("the step gave a log-probability that is NaN")
    return best, word


def _hypotheses(
    words: Tensor, length: Tensor, log_prob: Tensor, ended: Tensor, length_penalty: float
) -> list[list[Hypothesis]]:
    """The beams as lists: ended captions before others, then by the score of the search."""
    score = log_prob / length.clamp(min=1) ** length_penalty
    num_words = length - ended.long()
    batch = []
    for image in zip(*(part.tolist() for part in (words, num_words, log_prob, ended, score))):
        beams = sorted(zip(*image, strict=True), key=lambda beam: (not beam[3], -beam[4]))
        batch.append(
            [
                Hypothesis(tuple(ids[:n]), value, finished)
                for ids, n, value, finished, _ in beams
                if value > -math.inf
            ]
        )
    return batch
