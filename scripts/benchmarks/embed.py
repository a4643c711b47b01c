"""Images to embeddings, decoding included, beside torchvision."""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from benchmarks.encoder import torchvision_googlenet
from benchmarks.timing import Target, in_turn, spread
from vl.data.choices import Precision
from vl.data.images.decode import decode, square
from vl.data.images.files import find_images
from vl.devices import bfloat16_is_faster
from vl.encoding.embedder import Embedder
from vl.encoding.pretrained import load_encoder

TARGETS = (Target("ratio_at_8000_with_compiling.*", minimum=1.5),)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this benchmark."""
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, required=True, help="BVLC's blobs or a captioner")
    parser.add_argument("--num-images", type=int, default=512, help="images in a round")
    parser.add_argument("--rounds", type=int, default=3)


def measure(flags: argparse.Namespace) -> dict[str, Any]:
    """Images per second, decoding included: ours, and torchvision's googlenet, eager in float32.

    The two take turns on the same images. Compilation is timed apart and counted in the ratio at
    8,000 images.
    """
    files = list(islice(find_images(flags.images), flags.num_images))
    theirs = torchvision_googlenet().eval().to(flags.device)

    def run_theirs() -> None:
        with torch.inference_mode():
            for begin in range(0, len(files), 32):
                pixels = [square(decode(path), 224) for path in files[begin : begin + 32]]
                theirs(torch.stack(pixels).to(flags.device))

    runs: dict[str, Callable[[], None]] = {"torchvision float32 eager": run_theirs}
    warm_up: dict[str, float] = {}
    precisions: list[Precision] = ["float32"]
    if bfloat16_is_faster(flags.device):
        precisions.append("bfloat16")
    for precision in precisions:
        embedder = Embedder(
            load_encoder("inception_v1", flags.weights),
            encoder_name="inception_v1",
            device=flags.device,
            precision=precision,
        )
        embedder.compile()

        def run_ours(embedder: Embedder = embedder) -> None:
            for _ in embedder.stream(files):
                pass

        begin = time.perf_counter()
        for _ in embedder.stream(files[:32]):  # compiles
            pass
        warm_up[precision] = time.perf_counter() - begin
        runs[f"ours {precision}"] = run_ours
    seconds = in_turn(runs, flags.rounds)
    rates = {name: [len(files) / value for value in times] for name, times in seconds.items()}
    rate = {name: statistics.median(each) for name, each in rates.items()}
    base = rate["torchvision float32 eager"]
    return {
        "images": len(files),
        "images_per_second": {name: spread(each) for name, each in rates.items()},
        "compile_seconds": {name: round(each, 1) for name, each in warm_up.items()},
        "ratio": {name: round(rate[f"ours {name}"] / base, 2) for name in warm_up},
        "ratio_at_8000_with_compiling": {
            name: round(8000 / base / (8000 / rate[f"ours {name}"] + each), 2)
            for name, each in warm_up.items()
        },
    }
