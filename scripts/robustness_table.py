"""The tables and the picture of docs/robustness.md, from what reproduce_robustness.sh left.

python scripts/robustness_table.py OUT [--choose] [--picture FILE]
"""

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from vl import attack_sheet
from vl.attacks.targets import AttackedClassifier
from vl.data.images.decode import decode
from vl.encoding import encoder_file as encoder_bundle
from vl.training.adversarial import fast_gradient_sign

SEEDS = (1, 2, 3)
NETWORKS = {"clean": "trained on clean digits", "adversarial": "trained adversarially"}
ITERATED = 10  # steps
DRAWN = ("3", "7")  # of each of these classes the first of the test split
DRAWN_EPSILON = 0.1


def main() -> int:
    """Print them, or the choice alone."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--choose", action="store_true", help="print the epsilon to train with")
    parser.add_argument("--picture", type=Path, help="draw digits, attacked, as .png")
    flags = parser.parse_args()
    choices = {
        path.name.removeprefix("choice-").removesuffix(".development.json"): _results(path)
        for path in sorted(flags.out.glob("choice-*.development.json"))
    }
    if not choices:
        raise FileNotFoundError(f"{flags.out}: there is no choice-*.development.json")
    chosen = min(choices, key=lambda epsilon: _mean_error(choices[epsilon]))
    if flags.choose:
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
    held = {
        network: [_results(flags.out / f"{network}-{seed}.test.json") for seed in SEEDS]
        for network in NETWORKS
    }
    for number, first in enumerate(held["clean"][0]):
        name = {0: "none", 1: "one step"}.get(first["steps"], f"{first['steps']} steps")
        cells = [_cell([results[number] for results in held[network]]) for network in NETWORKS]
        print(f"| {first['eps']:g} | {name} | {' | '.join(cells)} |")
    if flags.picture:
        _draw(flags.out, flags.picture)
    return 0


def _results(path: Path) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["results"]
    return results


def _mean_error(results: list[dict[str, Any]], steps: int | None = None) -> float:
    """Over all attacks, and none; or over those of so many steps. In hundredths."""
    return 100 * mean(each["error"] for each in results if steps in (None, each["steps"]))


def _cell(seeds: list[dict[str, Any]]) -> str:
    """Mean of the error, least and greatest, and how sure the wrong answers are."""
    errors = [100 * each["error"] for each in seeds]
    sure = [100 * each["confidence"] for each in seeds if each["confidence"] is not None]
    told = f"{mean(errors):.1f} ({min(errors):.1f} to {max(errors):.1f})"
    return f"{told}, sure {mean(sure):.0f}" if sure else told


def _draw(out: Path, picture: Path) -> None:
    """Digits before and after one step against each network of the first seed."""
    rows = []
    for digit in DRAWN:
        path = min((out / "digits" / "test" / digit).iterdir())
        for network, name in NETWORKS.items():
            trained = encoder_bundle.load(out / f"{network}-{SEEDS[0]}" / "encoder.safetensors")
            model = AttackedClassifier(trained, resize="squash")
            pixels = model.square(decode(path))[None]  # (1, 3, S, S)
            loss = model.loss([model.wanted(digit).goal])
            changed = fast_gradient_sign(pixels, loss, epsilon=DRAWN_EPSILON)
            before, after = _answer(model, pixels), _answer(model, changed)
            between = (f"{name}; epsilon {DRAWN_EPSILON}", f"digit {path.stem}: {digit}")
            rows.append(attack_sheet.Row(pixels[0], changed[0], before, between, after))
    attack_sheet.write(picture, rows)


def _answer(model: AttackedClassifier, pixels: torch.Tensor) -> tuple[str, str]:
    (said,) = model.says(pixels)
    (figures,) = model.figures(pixels, [said.goal])
    return f"says {said.text}", f"probability {figures['probability']:.3f}"


if __name__ == "__main__":
    raise SystemExit(main())
