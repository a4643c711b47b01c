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
from typing import Any

import torch
import torchvision
from benchmarks import caption, embed, encoder, evaluate, label, load, search
from benchmarks.timing import Target

from vl.version import __version__

BENCHMARKS = {
    module.__name__.removeprefix("benchmarks."): module  # has `TARGETS`, `add_flags` and `measure`
    for module in (caption, embed, encoder, evaluate, label, load, search)
}


def main() -> int:
    """Run one benchmark; 1 if a target was to be checked and is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    names = parser.add_subparsers(dest="name", required=True)
    for name, module in BENCHMARKS.items():
        subparser = names.add_parser(name, help=str(module.__doc__).partition("\n")[0])
        module.add_flags(subparser)
        subparser.add_argument("--device", default="cpu")
        subparser.add_argument("--check", action="store_true", help="exit with 1 below a target")
    flags = parser.parse_args()
    benchmark = BENCHMARKS[flags.name]
    results = benchmark.measure(flags)
    targets = compare(results, benchmark.TARGETS)
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
