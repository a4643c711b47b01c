"""GoogLeNet's table of crops by models, on photographs named by their synset.

    python scripts/crops_by_models.py OUT FOLDER ... --weights bvlc_googlenet.safetensors \
        --classes synset_words.txt

Each file's name begins with its class, ``n01440764_tench.jpg``; ``--classes`` has the classes in
the classifier's order, one a line. The photographs are parted into two halves. On each half copies
of the network are tuned, which then answer, together with the network as it was, for the other
half. OUT gets everything made; a run that was stopped goes on with what is missing.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vl.data.files import write_text
from vl.data.images.decode import find
from vl.encoding import encoder_file as encoder_bundle
from vl.encoding.classes import read_classes
from vl.encoding.evaluation import interval
from vl.encoding.pretrained import load_encoder

NAME = "inception_v1"
SEEDS = (1, 2)  # of the copies
CROPS = (1, 10, 144)
# Not chosen by the result: little, as most classes have one photograph.
TUNING = (
    *("--tune", "all", "--epochs", "2", "--rate", "0.001", "--batch-size", "32"),
    *("--smoothing", "0", "--least-area", "0.35", "--save-seconds", "600"),
)


def main() -> int:
    """Tune, evaluate, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--classes", type=Path, required=True)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--together", type=int, nargs="*", default=CROPS, choices=CROPS)
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    published = flags.out / "published.safetensors"
    if not published.exists():
        network = load_encoder(NAME, flags.weights)
        trained = encoder_bundle.TrainedEncoder(network, NAME, read_classes(flags.classes), {})
        encoder_bundle.save(published, trained)
    halves = _halves(flags.out, find(flags.folders))
    copies = {half: [_tuned(flags, half, seed) for seed in SEEDS] for half in halves}
    print("| models | crops | top-1 | 95 % | top-5 | 95 % |\n|---|---|---|---|---|---|", flush=True)
    for crops in CROPS:
        _row(flags, 1, crops, {half: [published] for half in halves})
    for crops in flags.together:
        others = dict(zip(halves, reversed(halves), strict=True))
        models = {half: [published, *copies[other]] for half, other in others.items()}
        _row(flags, 1 + len(SEEDS), crops, models)
    return 0


def _halves(out: Path, photographs: Sequence[Path]) -> list[Path]:
    """Every second photograph in a list each, which `vl` can be given."""
    halves = []
    for number, name in enumerate(("even", "odd")):
        lines = [f"{path.resolve()}\t{path.name[:9]}\n" for path in photographs[number::2]]
        halves.append(out / f"{name}.tsv")
        write_text(halves[-1], "".join(lines))
    return halves


def _tuned(flags: argparse.Namespace, half: Path, seed: int) -> Path:
    """A copy of the network, tuned on a half."""
    run: Path = flags.out / f"{half.stem}-{seed}"
    done = run / "done"
    if not done.exists():
        resume = ["--resume"] if (run / "state.pt").exists() else []
        _vl(
            *("train", "encoder", half, "--from", flags.weights, "--encoder", NAME, "--out", run),
            *("--classes", flags.classes, "--seed", seed, *TUNING, *resume),
        )
        write_text(done, "")
    return run / "encoder.safetensors"


def _row(
    flags: argparse.Namespace, count: int, crops: int, models: Mapping[Path, Sequence[Path]]
) -> None:
    """Evaluate on both halves, if that is not done, and print what they give together."""
    found = []
    for half, files in models.items():
        result: Path = flags.out / f"{half.stem}-{count}x{crops}.json"
        if not result.exists():
            arguments = ["--crops", crops, "--precision", flags.precision, "--json"]
            write_text(result, _vl("evaluate-encoder", half, "--model", *files, *arguments))
        found.append(json.loads(result.read_text(encoding="utf-8")))
    images = sum(each["images"] for each in found)
    cells = []
    for name in ("top1", "top5"):
        hits = sum(round(each["results"][0][name] * each["images"]) for each in found)
        low, high = interval(hits, images)
        cells += [f"{100 * hits / images:.1f}", f"{100 * low:.1f} to {100 * high:.1f}"]
    print(f"| {count} | {crops} | {' | '.join(cells)} |", flush=True)


def _vl(*arguments: Any) -> str:
    """Run `vl`, its progress to be seen; what it prints.

    Raises:
        CalledProcessError: it failed, and has said why.
    """
    command = [sys.executable, "-m", "vl", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    raise SystemExit(main())
