"""Beam search over any decoder that can say how likely each next word is.

It knows nothing of LSTMs or images, and no rule of language: rules.py wraps the step for those.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

State = tuple[Tensor, ...]  # each (N, ...): row n belongs to unfinished caption n
Step = Callable[[Tensor, State], tuple[Tensor, State]]  # (N,) words -> (N, V) log-probs, State

_BLOCK = 64  # words looked at together when the best of a vocabulary are sought


class Hypothesis(NamedTuple):
    """A caption the search found."""

    words: tuple[int, ...]  # neither start nor end among them
    log_prob: float  # nats, the end word's included if there is one
    ended: bool  # False: it came to max_length, or no word could follow, before the end word


@torch.inference_mode()
def beam_search(
    step: Step,
    state: State,
    *,
    start: int,
    end: int,
    width: int,
    max_length: int,
    length_power: float = 0.0,
) -> list[list[Hypothesis]]:
    """The best captions of each image, many images at once.

    At every length each unfinished caption of an image is continued by every word, and the
    ``width`` best stay, finished ones among them: a finished caption holds its place until a
    better one takes it. The search of an image is over when all it holds are finished.

    Args:
        step: says the log-probability of each next word; minus infinity forbids one.
        state: of the ``B`` images before any word, each part ``(B, ...)``.
        start: the word that opens a caption; given to the step, never returned.
        end: the word that closes a caption; never returned.
        width: captions kept of each image; 1 is greedy.
        max_length: greatest number of words after the start, the end word counted.
        length_power: captions are compared by log-probability over length to this power, the end
            word counted; 0 compares log-probabilities, 1 the mean of a word.

    Returns:
        For each image at most ``width`` captions without duplicates: those that ended first, the
        best first. There are fewer only where fewer are possible.

    Raises:
        ValueError: a width or length below 1, an empty state, or a step that gives NaN.

    Source:
        Vinyals et al. 2015, section 3.1.2.
    """
    if width < 1 or max_length < 1:
        raise ValueError(f"width and max_length must be at least 1, not {width} and {max_length}")
    if not state:
        raise ValueError("the state has no part, so the number of images is unknown")
    images = len(state[0])
    if images == 0:
        return []
    device = state[0].device
    # Each image has `width` places. A place is empty (log-prob minus infinity), open (its row in
    # the state is the number of open places before it) or done.
    log_prob = torch.full((images, width), -math.inf, device=device)
    log_prob[:, 0] = 0.0  # one place only: equal beginnings would give equal captions
    length = torch.zeros(images, width, dtype=torch.long, device=device)
    done = torch.zeros(images, width, dtype=torch.bool, device=device)
    ended = torch.zeros_like(done)
    words = torch.full((images, width, max_length), end, dtype=torch.long, device=device)
    last = torch.full((images,), start, dtype=torch.long, device=device)
    open_image = torch.arange(images, device=device)  # (N,): image of each open place
    open_place = torch.zeros_like(open_image)  # (N,): and which of its places
    for position in range(max_length):
        log_probs, state = step(last, state)  # (N, V)
        best, word = top_words(log_probs, min(width, log_probs.shape[1]))  # (N, k)
        best = best.to(log_prob.dtype)
        k = best.shape[1]
        done[open_image, open_place] = best[:, 0] == -math.inf  # nothing can follow
        # Candidates of an image: every place continued in k ways, then every done place as it is.
        continued = torch.full((images, width, k), -math.inf, device=device)
        continued[open_image, open_place] = log_prob[open_image, open_place, None] + best
        next_word = torch.full((images, width, k), end, dtype=torch.long, device=device)
        next_word[open_image, open_place] = word
        kept = log_prob.masked_fill(~done, -math.inf)
        candidate = torch.cat([continued.flatten(1), kept], 1)  # (B, width k + width)
        score = candidate
        if length_power:
            continued_score = continued.flatten(1) / (position + 1) ** length_power
            score = torch.cat([continued_score, kept / length.clamp(min=1) ** length_power], 1)
        choice = score.topk(width).indices  # (B, width)
        grows = choice < width * k
        parent = torch.where(grows, choice // k, choice - width * k)
        said = next_word.flatten(1).gather(1, choice.clamp(max=width * k - 1))
        log_prob = candidate.gather(1, choice)
        grows &= log_prob > -math.inf
        length = length.gather(1, parent) + grows
        words = words.gather(1, parent[:, :, None].expand_as(words))
        words[:, :, position] = torch.where(grows, said, end)
        ended = torch.where(grows, said == end, ended.gather(1, parent))
        done = ~grows | ended
        row = torch.zeros(images, width, dtype=torch.long, device=device)
        row[open_image, open_place] = torch.arange(len(open_image), device=device)
        open_image, open_place = (~done).nonzero(as_tuple=True)
        if len(open_image) == 0:
            break
        last = said[open_image, open_place]
        order = row.gather(1, parent)[open_image, open_place]  # (N,): the row each comes from
        state = tuple(part[order] for part in state)
    return _hypotheses(words, length, log_prob, ended, length_power)


def top_words(log_probs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` greatest of each row, ``(N, V)`` to two ``(N, k)``: values and words, best first.

    What ``odds.topk(k)`` gives (equal values may come in another order), but faster for many
    words: the greatest k lie in the k blocks with the greatest maxima, and maxima are quick.

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
        number = (
            block[:, :, None] * _BLOCK + torch.arange(_BLOCK, device=log_probs.device)
        ).flatten(1)
        tail = torch.arange(cut, vocabulary, device=log_probs.device).expand(rows, -1)
        best, index = torch.cat([inside, log_probs[:, cut:]], 1).topk(k)
        word = torch.cat([number, tail], 1).gather(1, index)
    if best.isnan().any():  # topk puts NaN first
        raise ValueError("the step gave a log-probability that is not a number")
    return best, word


def _hypotheses(
    words: Tensor, length: Tensor, log_prob: Tensor, ended: Tensor, length_power: float
) -> list[list[Hypothesis]]:
    """The places as lists, ended captions before others, then by what the search compared."""
    score = log_prob / length.clamp(min=1) ** length_power
    order = score.argsort(dim=1, descending=True, stable=True)
    order = order.gather(
        1, ended.gather(1, order).int().argsort(dim=1, descending=True, stable=True)
    )
    words = words.gather(1, order[:, :, None].expand_as(words))
    spoken = (length - ended.long()).gather(1, order)
    return [
        [
            Hypothesis(tuple(ids[:n]), value, finished)
            for ids, n, value, finished in zip(*places, strict=True)
            if value > -math.inf
        ]
        for places in zip(
            words.tolist(),
            spoken.tolist(),
            log_prob.gather(1, order).tolist(),
            ended.gather(1, order).tolist(),
            strict=True,
        )
    ]
