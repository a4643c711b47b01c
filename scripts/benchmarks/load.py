"""Images per second of the training loader, of a training step, and of both together."""

import argparse
import os
import statistics
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.timing import Target, in_turn, spread
from vl.data.batches import LabelledBatch, prefetch
from vl.data.images.augmentation import Augmentation
from vl.data.images.files import find_images
from vl.data.labelled.dataset import FileDataset
from vl.data.labelled.folders import LabelledImage, LabelledImages
from vl.data.labelled.loader import ImageBatches, LoaderConfig
from vl.encoders.table import create_encoder

CLASSES = 1000
_NAMES = ("loader", "step", "both")
TARGETS = (Target("ratio_to_the_slower", minimum=0.9),)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this benchmark."""
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--encoder", default="inception_v1_bn")
    parser.add_argument("--width-factor", type=float, default=1.0)
    parser.add_argument("--num-workers", type=int, default=0, help="processes; 0 for threads")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--num-images", type=int, default=512, help="images in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--colour", type=float, default=1.0, help="strength of colour changes")
    parser.add_argument("--min-size", type=int, help="shorter side that decoding need not exceed")


def measure(flags: argparse.Namespace) -> dict[str, Any]:
    """Images per second of the loader, of the step on a batch in memory, and of both.

    If the loader has cores of its own, the two together can be as fast as the slower. If both need
    all cores, 1 / (1 / loader + 1 / step) is the limit. The first ratio is to the slower, the
    second to that limit; CPU seconds tell which of the two applies.
    """
    paths = list(islice(find_images(flags.images), flags.num_images))
    # The labels have no meaning: only the time counts.
    images = [LabelledImage(file, str(file), str(i % CLASSES)) for i, file in enumerate(paths)]
    classes = tuple(map(str, range(CLASSES)))
    dataset = FileDataset(LabelledImages(tuple(images), classes, ()))
    network = create_encoder(
        flags.encoder, {"classes": CLASSES, "width_factor": flags.width_factor}
    )
    network = network.to(flags.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    batches = ImageBatches(
        dataset,
        Augmentation(network.image_size, color_jitter=flags.colour),
        batch_size=flags.batch_size,
        config=LoaderConfig(num_workers=flags.num_workers, min_size=flags.min_size),
    )
    batch = next(batches.epoch(0)).to(flags.device)

    def step(batch: LabelledBatch) -> None:
        images, labels = batch.to(flags.device)
        pixels = images.to(memory_format=torch.channels_last) / 255
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(F.cross_entropy(network.classify(pixels).main, labels))
        optimizer.step()

    def run_all(items: Iterable[LabelledBatch], work: Callable[[LabelledBatch], None]) -> None:
        for item in items:
            work(item)

    runs: dict[str, Callable[[], None]] = {
        "loader": lambda: run_all(batches.epoch(0), lambda batch: None),
        "step": lambda: run_all([batch] * len(batches), step),
        "both": lambda: run_all(prefetch(batches.epoch(0)), step),
    }
    cpu: dict[str, list[float]] = {name: [] for name in runs}

    def timed(name: str) -> None:
        before = sum(os.times()[:4])  # children count once they have ended
        runs[name]()
        cpu[name].append(sum(os.times()[:4]) - before)

    seconds = in_turn({name: partial(timed, name) for name in runs}, flags.rounds)
    counts = dict.fromkeys(runs, len(paths)) | {"step": len(batch.labels) * len(batches)}
    rates = {name: [counts[name] / value for value in times] for name, times in seconds.items()}
    loader, alone, both = (statistics.median(rates[name]) for name in _NAMES)
    return {
        "images": len(paths),
        "batch_size": flags.batch_size,
        "num_workers": flags.num_workers,
        "encoder": flags.encoder,
        "width_factor": flags.width_factor,
        "images_per_second": {name: spread(values) for name, values in rates.items()},
        # Without the warm-up round.
        "cpu_seconds": {name: spread(values[1:]) for name, values in cpu.items()},
        "cores": os.cpu_count(),
        "ratio_to_the_slower": round(both / min(loader, alone), 3),
        "ratio_to_sequential": round(both * (1 / loader + 1 / alone), 3),
    }
