"""The tables and the image of docs/robustness.md, from the results of scripts/robustness/run.sh.

python scripts/robustness/table.py OUTPUT [--choose] [--image FILE]
"""

import json
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import tyro

from vl.attacks import sheet
from vl.attacks.targets import TargetClassifier
from vl.data.images.decode import decode
from vl.encoding import encoder_file as encoder_bundle
from vl.training.adversarial import fast_gradient_sign

SEEDS = (1, 2, 3)
NETWORKS = {"clean": "standard training", "adversarial": "adversarial training"}
ITERATED = 10  # steps
DRAWN = ("3", "7")  # classes: the first test image of each
DRAWN_EPSILON = 0.1


@tyro.conf.configure(tyro.conf.PositionalRequiredArgs, tyro.conf.PositionalMetavarFromFieldName)
def main(output: Path, *, choose: bool = False, image: Path | None = None) -> int:
    """Print the tables, or only the chosen epsilon.

    Args:
        output: folder of the results.
        choose: print the epsilon to train with and exit.
        image: draw attacked digits to this .png.
    """
    choices = {
        path.name.removeprefix("choice-").removesuffix(".development.json"): _results(path)
        for path in sorted(output.glob("choice-*.development.json"))
    }
    if not choices:
        raise FileNotFoundError(f"{output}: no choice-*.development.json in it")
    chosen = min(choices, key=lambda epsilon: _mean_error(choices[epsilon]))
    if choose:
        print(chosen)
        return 0
    print("Development split, seed 0, errors in %:\n")
    print("| trained with | clean | one step, mean | ten steps, mean | mean of all |")
    print("|---|---|---|---|---|")
    for epsilon, results in choices.items():
        means = [_mean_error(results, steps) for steps in (0, 1, ITERATED, None)]
        name = f"**{epsilon}**" if epsilon == chosen else epsilon
        print(f"| {name} | {' | '.join(f'{error:.1f}' for error in means)} |")
    print(f"\nTest split, errors in %, trained with {chosen}; mean of {len(SEEDS)} seeds:\n")
    print(f"| epsilon | attack | {' | '.join(NETWORKS.values())} |\n|---|---|---|---|")
    networks = {
        network: [_results(output / f"{network}-{seed}.test.json") for seed in SEEDS]
        for network in NETWORKS
    }
    for index, first in enumerate(networks["clean"][0]):
        name = {0: "none", 1: "one step"}.get(first["steps"], f"{first['steps']} steps")
        cells = [_cell([results[index] for results in networks[network]]) for network in NETWORKS]
        print(f"| {first['epsilon']:g} | {name} | {' | '.join(cells)} |")
    if image:
        _draw(output, image)
    return 0


def _results(path: Path) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["results"]
    return results


def _mean_error(results: list[dict[str, Any]], steps: int | None = None) -> float:
    """Mean error in percent, over all attacks or those with this number of steps (0: no attack)."""
    return 100 * mean(each["error_rate"] for each in results if steps in (None, each["steps"]))


def _cell(seeds: list[dict[str, Any]]) -> str:
    """Mean and range of the error over seeds, and the mean confidence of wrong answers."""
    errors = [100 * each["error_rate"] for each in seeds]
    confidences = [100 * each["confidence"] for each in seeds if each["confidence"] is not None]
    text = f"{mean(errors):.1f} ({min(errors):.1f} to {max(errors):.1f})"
    return f"{text}, confidence {mean(confidences):.0f}" if confidences else text


def _draw(output: Path, image: Path) -> None:
    """Draw digits before and after a one-step attack on each network of the first seed."""
    rows = []
    for digit in DRAWN:
        path = min((output / "digits" / "test" / digit).iterdir())
        for network, name in NETWORKS.items():
            trained = encoder_bundle.load(output / f"{network}-{SEEDS[0]}" / "encoder.safetensors")
            model = TargetClassifier(trained, resize="squash")
            pixels = model.preprocess(decode(path))[None]  # (1, 3, S, S)
            loss = model.loss([model.target(digit)])
            changed = fast_gradient_sign(pixels, loss, epsilon=DRAWN_EPSILON)
            before, after = _answer(model, pixels), _answer(model, changed)
            between = (f"{name}; epsilon {DRAWN_EPSILON}", f"digit {path.stem}: {digit}")
            rows.append(sheet.Row(pixels[0], changed[0], before, between, after))
    sheet.write(image, rows)


def _answer(model: TargetClassifier, pixels: torch.Tensor) -> tuple[str, str]:
    (output,) = model.predict(pixels)
    (confidence,) = model.confidence(pixels, [output])
    return f"predicts {output.text}", f"probability {confidence['probability']:.3f}"


if __name__ == "__main__":
    raise SystemExit(tyro.cli(main))
