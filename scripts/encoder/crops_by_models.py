"""Accuracy of GoogLeNet by the number of crops and of models, on images named by their synset.

    python scripts/encoder/crops_by_models.py OUTPUT FOLDER ... \
        --weights bvlc_googlenet.safetensors --classes synset_words.txt

Each file name begins with its class, ``n01440764_tench.jpg``; ``--classes`` lists the classes in
the classifier's order. The images are split into two halves. Copies of the network are fine-tuned
on each half, and evaluated together with the original network on the other half. Everything is
written to OUTPUT; an interrupted run continues with what is missing.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vl.data.files import write_text
from vl.data.images.files import find_images
from vl.encoding import encoder_file as encoder_bundle
from vl.encoding.accuracy import wilson_interval
from vl.encoding.classes import read_classes
from vl.encoding.pretrained import load_encoder

NAME = "inception_v1"
SEEDS = (1, 2)  # of the fine-tuned copies
CROPS = (1, 10, 144)
# Short, as most classes have one image; not chosen by the result.
TUNING = (
    *("--depth", "all", "--epochs", "2", "--learning-rate", "0.001", "--batch-size", "32"),
    *("--label-smoothing", "0", "--min-crop-area", "0.35", "--checkpoint-seconds", "600"),
)


def main() -> int:
    """Fine-tune, evaluate, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--classes", type=Path, required=True)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--ensemble-crops", type=int, nargs="*", default=CROPS, choices=CROPS)
    flags = parser.parse_args()
    flags.output.mkdir(parents=True, exist_ok=True)
    published = flags.output / "published.safetensors"
    if not published.exists():
        network = load_encoder(NAME, flags.weights)
        trained = encoder_bundle.TrainedEncoder(network, NAME, read_classes(flags.classes), {})
        encoder_bundle.save(published, trained)
    halves = _halves(flags.output, find_images(flags.folders))
    copies = {half: [_finetuned(flags, half, seed) for seed in SEEDS] for half in halves}
    print("| models | crops | top-1 | 95 % | top-5 | 95 % |\n|---|---|---|---|---|---|", flush=True)
    for crops in CROPS:
        _row(flags, 1, crops, {half: [published] for half in halves})
    for crops in flags.ensemble_crops:
        others = dict(zip(halves, reversed(halves), strict=True))
        models = {half: [published, *copies[other]] for half, other in others.items()}
        _row(flags, 1 + len(SEEDS), crops, models)
    return 0


def _halves(output: Path, images: Sequence[Path]) -> list[Path]:
    """Write every second image to a list, as `vl` reads them."""
    halves = []
    for offset, name in enumerate(("even", "odd")):
        lines = [f"{path.resolve()}\t{path.name[:9]}\n" for path in images[offset::2]]
        halves.append(output / f"{name}.tsv")
        write_text(halves[-1], "".join(lines))
    return halves


def _finetuned(flags: argparse.Namespace, half: Path, seed: int) -> Path:
    """A copy of the network, fine-tuned on a half."""
    run: Path = flags.output / f"{half.stem}-{seed}"
    done = run / "done"
    if not done.exists():
        resume = ["--resume"] if (run / "state.pt").exists() else []
        _vl(
            *("finetune", "encoder", half, "--pretrained", flags.weights, "--encoder", NAME),
            *("--output-dir", run, "--classes", flags.classes, "--seed", seed, *TUNING, *resume),
        )
        write_text(done, "")
    return run / "encoder.safetensors"


def _row(
    flags: argparse.Namespace, count: int, crops: int, models: Mapping[Path, Sequence[Path]]
) -> None:
    """Evaluate on both halves, unless results exist, and print the two combined."""
    results = []
    for half, files in models.items():
        path: Path = flags.output / f"{half.stem}-{count}x{crops}.json"
        if not path.exists():
            arguments = ["--crops", crops, "--precision", flags.precision, "--json"]
            write_text(path, _vl("evaluate-encoder", half, "--model", *files, *arguments))
        results.append(json.loads(path.read_text(encoding="utf-8")))
    images = sum(entry["images"] for entry in results)
    cells = []
    for name in ("top1", "top5"):
        hits = sum(round(entry["results"][0][name] * entry["images"]) for entry in results)
        low, high = wilson_interval(hits, images)
        cells += [f"{100 * hits / images:.1f}", f"{100 * low:.1f} to {100 * high:.1f}"]
    print(f"| {count} | {crops} | {' | '.join(cells)} |", flush=True)


def _vl(*arguments: Any) -> str:
    """Run `vl` with its progress on stderr; returns its stdout.

    Raises:
        CalledProcessError: it failed; its message is on stderr.
    """
    command = [sys.executable, "-m", "vl", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    raise SystemExit(main())
