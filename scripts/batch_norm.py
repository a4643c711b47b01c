"""Batch normalisation's claim, measured: how many steps it saves, at which rates.

    python scripts/batch_norm.py OUT

Draws pictures, trains GoogLeNet without and with batch normalisation on them, the plain one at
several rates and the normalised one at 1, 5 and 30 times the best of those, and writes OUT's
batch_norm.md and batch_norm.png. Goes on where it was stopped. Source of the claim: Ioffe and
Szegedy 2015, figures 2 and 3.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from torchvision.transforms.v2.functional import to_pil_image

from vl.__main__ import main as vl
from vl.data.scenes import draw
from vl.terminal import Bar

SIDE = 64
RATES = (0.003, 0.01, 0.03)  # the plain network's, to choose from
TIMES = (1, 5, 30)  # the paper's


class Curve(NamedTuple):
    """How a training went."""

    name: str
    rate: float
    steps: list[int]
    accuracy: list[float]  # hundredths, of pictures that are not trained on

    @property
    def best(self) -> float:
        """The greatest accuracy."""
        return max(self.accuracy, default=0.0)

    def steps_to(self, accuracy: float) -> int | None:
        """The first judged step with at least this accuracy."""
        return next((s for s, a in zip(self.steps, self.accuracy) if a >= accuracy), None)


def main() -> int:
    """Draw, train, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--pictures", type=int, default=3000, help="to train on, and half as many to judge by"
    )
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--width-factor", type=float, default=0.25)
    flags = parser.parse_args()
    pictures = flags.out / "pictures"
    drawn(pictures / "training", range(flags.pictures))
    drawn(pictures / "development", range(flags.pictures, flags.pictures * 3 // 2))

    def trained(name: str, encoder: str, rate: float) -> Curve:
        run = flags.out / name
        if not (run / "done").exists():
            code = train(run, pictures, encoder, rate, flags.epochs, flags.width_factor)
            if code not in (0, 2):  # 2 is a loss that is not finite, too
                raise SystemExit(code)
            (run / "done").write_text(f"{code}\n")
        return curve_of(run, name, rate)

    plain = [trained(f"plain-{rate:g}", "inception_v1", rate) for rate in RATES]
    baseline = max(plain, key=lambda curve: curve.best)
    normalised = [
        trained(f"batch-norm-x{times}", "inception_v1_bn", baseline.rate * times) for times in TIMES
    ]
    curves = [*plain, *normalised]
    text = table(curves, baseline)
    (flags.out / "batch_norm.md").write_text(text)
    print(text, end="")
    plot(curves, baseline, flags.out / "batch_norm.png")
    return 0


def drawn(folder: Path, seeds: range) -> None:
    """Pictures of a class for each kind of thing, colour and ground."""
    if (folder.parent / f"{folder.name}.done").exists():
        return
    with Bar("draw", len(seeds), unit="pictures") as bar:
        for seed in seeds:
            scene = draw(seed, side=SIDE)
            place = folder / f"{scene.colour} {scene.kind} on {scene.ground}"
            place.mkdir(parents=True, exist_ok=True)
            to_pil_image(scene.pixels).save(place / f"{seed}.png")
            bar.advance()
    (folder.parent / f"{folder.name}.done").touch()


def train(
    run: Path, pictures: Path, encoder: str, rate: float, epochs: int, width_factor: float
) -> int:
    """Both networks get the same pictures in the same order, and differ in nothing else."""
    resume = ["--resume"] if (run / "state.pt").exists() else []
    told = {
        "--encoder": encoder,
        "--width-factor": width_factor,
        "--image-size": SIDE,
        "--development": pictures / "development",
        "--out": run,
        "--rate": rate,
        "--schedule": "constant",
        "--warm-up": 0,
        "--smoothing": 0,
        "--least-area": 0.8,  # little of a thing is cut off
        "--colour": 0,  # a colour is part of the class
        "--clip": 1e6,  # the paper clips nothing
        "--batch-size": 32,
        "--epochs": epochs,
    }
    given = [str(each) for pair in told.items() for each in pair]
    return vl(["train", "encoder", str(pictures / "training"), *given, *resume])


def curve_of(run: Path, name: str, rate: float) -> Curve:
    """What the log says; a run that went to infinity has a short one, or none."""
    log = run / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    judged = [line for line in lines if "judged" in line]
    return Curve(
        name,
        rate,
        [line["step"] for line in judged],
        [line["development/top-1"] for line in judged],
    )


def table(curves: list[Curve], baseline: Curve) -> str:
    """Markdown."""
    lines = [
        f"| network | rate | steps to {baseline.best:.1f} % | best top-1 | at step |",
        "|---|---|---|---|---|",
    ]
    for curve in curves:
        steps = curve.steps_to(baseline.best)
        at = curve.steps[curve.accuracy.index(curve.best)] if curve.steps else "-"
        lines.append(
            f"| {curve.name.rsplit('-', 1)[0]} | {curve.rate:g} | {steps or 'never'} "
            f"| {curve.best:.1f} | {at} |"
        )
    return "\n".join(lines) + "\n"


def plot(curves: list[Curve], baseline: Curve, path: Path) -> None:
    """Accuracy by steps."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for curve in curves:
        normalised = curve.name.startswith("batch")
        label = f"{'batch norm' if normalised else 'plain'}, rate {curve.rate:g}"
        axes.plot(curve.steps, curve.accuracy, "-" if normalised else "--", label=label, marker=".")
    axes.axhline(baseline.best, color="0.6", linewidth=0.8)
    axes.set(xlabel="steps", ylabel="top-1, pictures not trained on, %")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    raise SystemExit(main())
