"""Speed, measured side by side in one run: each benchmark prints one JSON line.

    python scripts/benchmark.py caption IMAGES --model captioner.safetensors
    python scripts/benchmark.py embed IMAGES --weights bvlc_googlenet.safetensors
    python scripts/benchmark.py encoder --weights bvlc_googlenet.safetensors
    python scripts/benchmark.py search
    python scripts/benchmark.py evaluate CAPTIONS
    python scripts/benchmark.py label
    python scripts/benchmark.py load IMAGES

Machines differ and drift, so the figures to quote are the ratios. Those that have a target stand
beside it in the output; with ``--check`` the exit code is 1 if one is missed.
"""

import argparse
import json
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
import torchvision
from benchmarks import caption, embed, encoder, evaluate, label, load, search

from vl.version import __version__


class Target(NamedTuple):
    """A figure of the output and its bound."""

    key: str  # dotted path; `*` stands for any key or position
    minimum: float | None = None
    maximum: float | None = None


class Benchmark(NamedTuple):
    """What runs under a name."""

    help: str
    module: ModuleType  # with `add_flags` and `measure`
    targets: Sequence[Target] = ()


BENCHMARKS = {
    "caption": Benchmark(
        "captions of images, and the start of the command",
        caption,
        [Target("start_up_ratio", maximum=1.3)],
    ),
    "embed": Benchmark(
        "images to embeddings, beside torchvision",
        embed,
        [Target("ratio_at_8000_with_compiling.*", minimum=1.5)],
    ),
    "encoder": Benchmark(
        "inference and training of the encoder, beside torchvision and other engines",
        encoder,
        [
            Target("inference.ratio.ours float32 OpenVINO", minimum=2.5),
            Target("inference.ratio_to_best_engine.ours float32 OpenVINO", minimum=0.9),
            Target("training.ratio.ours float32 eager", minimum=1.5),
        ],
    ),
    "search": Benchmark(
        "beam search, beside its matrix products alone",
        search,
        [Target("searches.beam 3, batch 64.of_limit", minimum=0.7)],
    ),
    "evaluate": Benchmark(
        "all caption scores, beside pycocoevalcap",
        evaluate,
        [Target("*.ratio", minimum=10), Target("*.MiB.ours", maximum=1024)],
    ),
    "label": Benchmark(
        "nearest labels of images, beside NumPy and gensim",
        label,
        [
            Target("images_per_second.ours.median", minimum=2000),
            Target("ratio.*", minimum=1),
            Target("hierarchical_precision_seconds.median", maximum=60),
        ],
    ),
    "load": Benchmark(
        "the training loader, a training step, and both together",
        load,
        [Target("ratio_to_the_slower", minimum=0.9)],
    ),
}


def main() -> int:
    """Run one benchmark; 1 if a target was to be checked and is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    names = parser.add_subparsers(dest="name", required=True)
    for name, benchmark in BENCHMARKS.items():
        subparser = names.add_parser(name, help=benchmark.help)
        benchmark.module.add_flags(subparser)
        subparser.add_argument("--device", default="cpu")
        subparser.add_argument("--check", action="store_true", help="exit with 1 below a target")
    flags = parser.parse_args()
    benchmark = BENCHMARKS[flags.name]
    results = benchmark.module.measure(flags)
    targets = compare(results, benchmark.targets)
    line = {"benchmark": flags.name, **machine(flags.device), **results, "targets": targets}
    print(json.dumps(line))
    return 1 if flags.check and not all(target["met"] for target in targets) else 0


def compare(results: Mapping[str, Any], targets: Sequence[Target]) -> list[dict[str, Any]]:
    """Every figure that has a target, beside it."""
    rows = []
    for target in targets:
        for key, value in select(results, target.key.split(".")):
            low, high = target.minimum, target.maximum
            met = (low is None or value >= low) and (high is None or value <= high)
            bound = {"minimum": low} if low is not None else {"maximum": high}
            rows.append({"figure": key, "value": value, **bound, "met": met})
    return rows


def select(value: Any, path: Sequence[str], prefix: str = "") -> list[tuple[str, float]]:
    """The numbers at a dotted path, with the full path of each."""
    if not path:
        return [(prefix, value)] if isinstance(value, int | float) else []
    if not isinstance(value, Mapping):
        return []
    keys = [key for key in value if path[0] in ("*", key)]
    joined = [(key, f"{prefix}.{key}" if prefix else key) for key in keys]
    return [pair for key, full in joined for pair in select(value[key], path[1:], full)]


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    root = Path(__file__).resolve().parent
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return {
        "device": device,
        **processor(device),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "vl": __version__,
        "commit": commit.stdout.strip(),
    }


def processor(device: str) -> dict[str, Any]:
    """Name of the processor, and which of the matrix instructions that decide speed it has."""
    if device.startswith("cuda"):
        return {"processor": torch.cuda.get_device_name()}
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    name = re.search(r"^model name\s*: (.*)$", text, re.M)
    flags = re.findall(r"\b(amx_bf16|amx_int8|avx512_bf16|avx512_vnni|avx512f|avx2)\b", text)
    return {
        "processor": name[1] if name else platform.processor() or platform.machine(),
        "instructions": sorted(set(flags)),
    }


if __name__ == "__main__":
    raise SystemExit(main())
