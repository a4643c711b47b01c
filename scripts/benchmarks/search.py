"""Captions per second of the beam search, beside its matrix products alone."""

import argparse
import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.timing import Target, in_turn, spread
from vl.decoders.beam_search import State, beam_search
from vl.decoders.show_and_tell import ShowAndTell

# im2txt's widths and maximum length, a vocabulary of COCO's size.
VOCABULARY, WIDTH, STEPS = 12_000, 512, 20
BEAMS, BATCHES = (1, 3, 20), (1, 64, 256)
START, END = 0, 1
LARGE_BATCH = 2_000  # hypotheses: one round is enough for a search that takes many seconds on a CPU
TARGETS = (Target("searches.beam 3, batch 64.of_limit", minimum=0.7),)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this benchmark."""
    parser.add_argument("--beams", type=int, nargs="+", default=BEAMS)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--repeats", type=int, default=5)


def measure(flags: argparse.Namespace) -> dict[str, Any]:
    """Captions per second by beam width and batch size, all steps run.

    ``of_limit`` is the rate over that of the same matrix products alone; ``over_single`` the rate
    over that of one image at a time; ``early_end`` the rate where captions end by themselves, after
    ``words`` words on average.
    """
    torch.manual_seed(0)
    decoder = ShowAndTell(image_width=1024, vocabulary_size=VOCABULARY, dropout=0.0)
    decoder = decoder.eval().to(flags.device)
    results: dict[str, dict[str, Any]] = {}
    for beam in flags.beams:
        single = 0.0
        for batch in sorted({1, *flags.batches}):
            repeats = 1 if batch * beam >= LARGE_BATCH else flags.repeats
            images = torch.randn(batch, 1024, device=flags.device)
            lengths: list[int] = []

            def run_search(images: Tensor = images, beam: int = beam, ends: bool = False) -> int:
                with torch.inference_mode():
                    state = decoder.start(images)
                    found = beam_search(
                        ending if ends else endless,
                        (*state, torch.zeros(len(images), device=flags.device)) if ends else state,
                        start=START,
                        end=END,
                        num_beams=beam,
                        max_length=STEPS,
                    )
                return sum(len(hypotheses[0].words) for hypotheses in found)

            def endless(words: Tensor, state: State) -> tuple[Tensor, State]:
                log_probs, state = decoder.step(words, state)
                log_probs[:, END] = -1e4  # never among the best, and no copy
                return log_probs, state

            def ending(words: Tensor, state: State) -> tuple[Tensor, State]:
                *inner, length = state
                log_probs, after = decoder.step(words, tuple(inner))
                log_probs[:, END] = torch.where(length < 8, -1e4, -1.0 - (length + words % 5) % 3)
                return log_probs, (*after, length + 1)

            def run_early_end(
                run: Callable[..., int] = run_search, total: list[int] = lengths
            ) -> None:
                total.append(run(ends=True))

            seconds = in_turn(
                {
                    "search": run_search,
                    "products": products(decoder, batch, beam, flags.device),
                    "early_end": run_early_end,
                },
                repeats,
            )
            median = {name: statistics.median(times) for name, times in seconds.items()}
            rate = batch / median["search"]
            single = rate if batch == 1 else single
            results[f"beam {beam}, batch {batch}"] = {
                "captions_per_second": spread([batch / value for value in seconds["search"]]),
                "limit": round(batch / median["products"], 1),
                "of_limit": round(median["products"] / median["search"], 3),
                "over_single": round(rate / single, 2),
                "early_end": round(batch / median["early_end"], 1),
                "words": round(lengths[-1] / batch, 1),
            }
            print(f"beam {beam}, batch {batch}: {rate:.1f} captions/s", file=sys.stderr)
    return {"vocabulary": VOCABULARY, "width": WIDTH, "steps": STEPS, "searches": results}


def products(decoder: ShowAndTell, batch: int, beam: int, device: str) -> Callable[[], None]:
    """The matrix products of a search and nothing else: its upper bound."""
    gates = [decoder.input_gates.weight.T, decoder.hidden_gates.weight.T]
    output = decoder.output.weight.T
    ready = []
    for rows in (batch, batch * beam):
        left = torch.randn(rows, WIDTH, device=device)
        ready.append((left, left.new_empty(rows, 4 * WIDTH), left.new_empty(rows, VOCABULARY)))

    def run() -> None:
        with torch.inference_mode():
            for step in range(STEPS):
                left, gate, word = ready[step > 0]  # one beam at first
                for matrix in gates:
                    torch.mm(left, matrix, out=gate)
                torch.mm(left, output, out=word)

    return run
