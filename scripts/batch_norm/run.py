"""Steps that batch normalization saves, and the learning rates it allows, on the drawn world.

    python scripts/batch_norm/run.py OUTPUT

Draws images, trains GoogLeNet without batch normalization at several learning rates, then with it
at 1, 5 and 30 times the best of those, and writes batch_norm.md and batch_norm.png to OUTPUT. An
interrupted run continues where it stopped. Source of the claim: Ioffe and Szegedy 2015, figures 2
and 3.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from vl.__main__ import main as vl

SIDE = 64
LEARNING_RATES = (0.001, 0.003, 0.01)  # of the plain network, the best is chosen
FACTORS = (1, 5, 30)  # the paper's
NOT_FINITE = 2  # exit code of a training whose loss is no longer finite


class Curve(NamedTuple):
    """Development accuracy over one training."""

    network: str  # "plain" or "batch norm, x5"
    learning_rate: float
    steps: list[int]
    accuracy: list[float]  # top-1 on the development split, %

    @property
    def best(self) -> float:
        """The highest accuracy."""
        return max(self.accuracy, default=0.0)

    def steps_to(self, accuracy: float) -> int | None:
        """The first validated step with at least this accuracy."""
        return next((s for s, a in zip(self.steps, self.accuracy) if a >= accuracy), None)


def main() -> int:
    """Draw, train, write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--images", type=int, default=3000, help="training images")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--width-factor", type=float, default=0.25)
    flags = parser.parse_args()
    world = flags.output / "world"
    sizes = ["--training", flags.images, "--development", flags.images // 2, "--test", 0]
    no_held_out = ["--held-out-combinations", 0, "--held-out-kinds", 0, "--words", 0]
    run_vl("draw-world", "--output-dir", world, "--side", SIDE, *sizes, *no_held_out)

    def curve(network: str, encoder: str, learning_rate: float) -> Curve:
        return train(flags, world, Curve(network, learning_rate, [], []), encoder)

    plain = [curve("plain", "inception_v1", rate) for rate in LEARNING_RATES]
    baseline = max(plain, key=lambda entry: entry.best)
    normalized = [
        curve(f"batch norm, x{factor}", "inception_v1_bn", baseline.learning_rate * factor)
        for factor in FACTORS
    ]
    curves = [*plain, *normalized]
    text = table(curves, baseline)
    (flags.output / "batch_norm.md").write_text(text)
    print(text, end="")
    plot(curves, baseline, flags.output / "batch_norm.png")
    return 0


def run_vl(*arguments: object, may_be: int = 0) -> None:
    """Run a command of `vl`.

    Raises:
        SystemExit: its exit code is neither 0 nor ``may_be``.
    """
    code = vl([str(argument) for argument in arguments])
    if code not in (0, may_be):
        raise SystemExit(code)


def train(flags: argparse.Namespace, world: Path, curve: Curve, encoder: str) -> Curve:
    """Train on the main thing's color and kind; all networks see the same batches."""
    run = flags.output / f"{encoder}-{curve.learning_rate:g}"
    if not (run / "done").exists():
        run_vl(
            *("train", "encoder", world / "training-looks.txt"),
            *("--development", world / "development-looks.txt", "--output-dir", run),
            *("--encoder", encoder, "--width-factor", flags.width_factor, "--image-size", SIDE),
            *("--learning-rate", curve.learning_rate, "--schedule", "constant"),
            *("--warmup-epochs", 0, "--label-smoothing", 0, "--grad-clip", 1e6),
            *("--batch-size", 32, "--epochs", flags.epochs, "--min-crop-area", 0.8),
            *("--color-jitter", 0),  # a color is part of the class
            *(["--resume"] if (run / "state.pt").exists() else []),
            may_be=NOT_FINITE,
        )
        if not run.exists():
            raise SystemExit(NOT_FINITE)  # wrong flags have the same exit code
        (run / "done").touch()
    log = run / "log.jsonl"
    entries = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    validated = [entry for entry in entries if "development/top-1" in entry]
    return curve._replace(
        steps=[entry["step"] for entry in validated],
        accuracy=[entry["development/top-1"] for entry in validated],
    )


def table(curves: Sequence[Curve], baseline: Curve) -> str:
    """The curves as a Markdown table."""
    lines = [
        f"| network | learning rate | steps to {baseline.best:.1f} % | best top-1 | at step |",
        "|---|---|---|---|---|",
    ]
    for curve in curves:
        steps = curve.steps_to(baseline.best)
        best_step = curve.steps[curve.accuracy.index(curve.best)] if curve.steps else "-"
        lines.append(
            f"| {curve.network} | {curve.learning_rate:g} | {steps or 'never'} "
            f"| {curve.best:.1f} | {best_step} |"
        )
    return "\n".join(lines) + "\n"


def plot(curves: Sequence[Curve], baseline: Curve, path: Path) -> None:
    """Accuracy over steps."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for curve in curves:
        style = "--" if curve.network == "plain" else "-"
        label = f"{curve.network}, learning rate {curve.learning_rate:g}"
        axes.plot(curve.steps, curve.accuracy, style, label=label, marker=".")
    axes.axhline(baseline.best, color="0.6", linewidth=0.8)
    axes.set(xlabel="step", ylabel="top-1 accuracy on the development split, %")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    raise SystemExit(main())
