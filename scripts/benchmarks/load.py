"""Pictures for training: what the loader gives, what a training step takes, and both together."""

import argparse
import os
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.timing import in_turn, spread
from vl.data.batches import LabelledBatch, prefetch
from vl.data.images.augmentation import Augmentation
from vl.data.images.decode import find_images
from vl.data.labelled.loader import ImageBatches
from vl.encoders.table import encoder

CLASSES = 1000
_NAMES = ("loader", "step", "both")


@dataclass
class Unlabelled:
    """Photographs with labels that mean nothing: only the time counts."""

    paths: list[Path]

    @property
    def names(self) -> list[str]:
        return [str(path) for path in self.paths]

    @property
    def labels(self) -> list[int]:
        return [row % CLASSES for row in range(len(self.paths))]

    def read(self, row: int) -> bytes:
        return self.paths[row].read_bytes()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    parser.add_argument("photographs", type=Path, nargs="+")
    parser.add_argument("--encoder", default="inception_v1_bn")
    parser.add_argument("--width-factor", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 for threads")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=512, help="photographs a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--colour", type=float, default=1.0, help="strength of colour changes")
    parser.add_argument("--min-size", type=int, help="shorter side that decoding need not exceed")


def figures(flags: argparse.Namespace) -> dict[str, Any]:
    """Images a second of the loader, of the step on a batch that is there, and of both.

    Where the loader has cores of its own, the two together can be as fast as the slower. Where
    both need all cores, and nothing is left over, a second of each comes after the other: then
    1 / (1 / loader + 1 / step) is all that can be had. The first ratio is to the slower, the
    second to that; processor seconds say which of the two is the case.
    """
    paths = list(islice(find_images(flags.photographs), flags.images))
    network = encoder(flags.encoder, classes=CLASSES, width_factor=flags.width_factor)
    network = network.to(flags.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    batches = ImageBatches(
        Unlabelled(paths),
        Augmentation(network.image_size, colour=flags.colour),
        batch_size=flags.batch,
        num_workers=flags.workers,
        min_size=flags.min_size,
    )
    there = next(batches.epoch(0)).to(flags.device)

    def step(batch: LabelledBatch) -> None:
        images, labels = batch.to(flags.device)
        pixels = images.to(memory_format=torch.channels_last) / 255
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(F.cross_entropy(network.classify(pixels).main, labels))
        optimizer.step()

    def each(items: Iterable[LabelledBatch], work: Callable[[LabelledBatch], None]) -> None:
        for item in items:
            work(item)

    runs: dict[str, Callable[[], None]] = {
        "loader": lambda: each(batches.epoch(0), lambda batch: None),
        "step": lambda: each([there] * len(batches), step),
        "both": lambda: each(prefetch(batches.epoch(0)), step),
    }
    used: dict[str, list[float]] = {name: [] for name in runs}

    def watched(name: str) -> None:
        before = sum(os.times()[:4])  # children are counted once they have ended
        runs[name]()
        used[name].append(sum(os.times()[:4]) - before)

    seconds = in_turn({name: partial(watched, name) for name in runs}, flags.rounds)
    counts = dict.fromkeys(runs, len(paths)) | {"step": len(there.labels) * len(batches)}
    rates = {name: [counts[name] / each for each in times] for name, times in seconds.items()}
    loader, alone, both = (statistics.median(rates[name]) for name in _NAMES)
    return {
        "images": len(paths),
        "batch": flags.batch,
        "workers": flags.workers,
        "encoder": flags.encoder,
        "width_factor": flags.width_factor,
        "images_per_second": {name: spread(values) for name, values in rates.items()},
        # The first round does not count, as in their seconds.
        "processor_seconds": {name: spread(values[1:]) for name, values in used.items()},
        "cores": os.cpu_count(),
        "ratio_to_the_slower": round(both / min(loader, alone), 3),
        "ratio_to_one_after_the_other": round(both * (1 / loader + 1 / alone), 3),
    }
