"""Captions of images, end to end, and what starting the command costs beside importing PyTorch."""

import argparse
import resource
import statistics
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import vl
from benchmarks.timing import Target, in_turn, spread
from vl.data.images.files import find_images

# The least that any captioner in PyTorch does before it can begin.
BASELINE = "import sys, torch; from safetensors.torch import load_file; load_file(sys.argv[1])"
TARGETS = (Target("start_up_ratio", maximum=1.3),)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this benchmark."""
    parser.add_argument("images", type=Path, nargs="+", help="image files and folders")
    parser.add_argument("--model", type=Path, required=True, help="a captioner")
    parser.add_argument("--num-images", type=int, default=256, help="images in a round")
    parser.add_argument("--rounds", type=int, default=5)


def measure(flags: argparse.Namespace) -> dict[str, Any]:
    """Images per second from files to sentences, and CPU seconds of a command for one image.

    ``start_up_ratio`` is the median over rounds of the CPU seconds of ``vl caption`` on one image
    over those of importing PyTorch and reading the same model file.
    """
    files = list(islice(find_images(flags.images), flags.num_images))
    captioner = vl.Captioner.load(flags.model, device=flags.device)
    seconds = in_turn({"caption": lambda: captioner(files)}, flags.rounds)["caption"]
    python = sys.executable
    command = [python, "-m", "vl", "caption", str(files[0]), "--model", str(flags.model)]
    baseline = [python, "-c", BASELINE, str(flags.model)]
    cpu: dict[str, list[float]] = {"vl caption": [], "import torch, read": []}
    for round_index in range(flags.rounds + 1):
        for name, arguments in zip(cpu, (command, baseline), strict=True):
            used = cpu_seconds(arguments)
            if round_index:  # the first fills the disk's cache
                cpu[name].append(used)
    ratios = [a / b for a, b in zip(*cpu.values(), strict=True)]
    return {
        "images": len(files),
        "images_per_second": spread([len(files) / value for value in seconds]),
        "cpu_seconds": {name: spread(values, 2) for name, values in cpu.items()},
        "start_up_ratio": round(statistics.median(ratios), 2),
    }


def cpu_seconds(command: list[str]) -> float:
    """CPU seconds, user and system, of a command that must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
