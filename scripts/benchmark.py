"""Speed, measured side by side in one run: each benchmark prints one JSON line.

    python scripts/benchmark.py embed PHOTOGRAPHS --weights bvlc_googlenet.safetensors
    python scripts/benchmark.py encoder --weights bvlc_googlenet.safetensors
    python scripts/benchmark.py search
    python scripts/benchmark.py evaluate CAPTIONS
    python scripts/benchmark.py label
    python scripts/benchmark.py load PHOTOGRAPHS

Machines differ and drift, so the figures to quote are the ratios.
"""

import argparse
import json
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from benchmarks import embed, encoder, evaluate, label, load, search

from vl.version import __version__


class Benchmark(NamedTuple):
    """What can be run under a name."""

    help: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    figures: Callable[[argparse.Namespace], dict[str, Any]]


BENCHMARKS = {
    "embed": Benchmark(
        "photographs to embeddings, beside torchvision", embed.add_flags, embed.figures
    ),
    "encoder": Benchmark(
        "embedding and training, beside torchvision and other engines",
        encoder.add_flags,
        encoder.figures,
    ),
    "search": Benchmark(
        "captions a second, beside the products alone", search.add_flags, search.figures
    ),
    "evaluate": Benchmark(
        "all caption scores, beside pycocoevalcap's", evaluate.add_flags, evaluate.figures
    ),
    "label": Benchmark(
        "nearest labels of images, beside NumPy and gensim", label.add_flags, label.figures
    ),
    "load": Benchmark(
        "pictures for training: the loader, a training step, and both together",
        load.add_flags,
        load.figures,
    ),
}


def main() -> int:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    names = parser.add_subparsers(dest="name", required=True)
    for name, benchmark in BENCHMARKS.items():
        own = names.add_parser(name, help=benchmark.help)
        benchmark.add_flags(own)
        own.add_argument("--device", default="cpu")
    flags = parser.parse_args()
    figures = BENCHMARKS[flags.name].figures(flags)
    print(json.dumps({"benchmark": flags.name, **machine(flags.device), **figures}))
    return 0


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    here = Path(__file__).resolve().parent
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    processor = platform.processor() or platform.machine()
    if device.startswith("cuda"):
        processor = torch.cuda.get_device_name()
    return {
        "device": device,
        "processor": processor,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "vl": __version__,
        "commit": commit.stdout.strip(),
    }


if __name__ == "__main__":
    raise SystemExit(main())
