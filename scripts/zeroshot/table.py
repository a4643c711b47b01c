"""The tables of docs/zeroshot.md, from the results of scripts/zeroshot/run.sh.

python scripts/zeroshot/table.py OUTPUT
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tyro

WORD_VECTORS = ("paper", "tuned")
METHODS = (
    ("devise", "DeViSE, first violation"),
    ("devise-full", "DeViSE, full sum"),
    ("conse", "ConSE"),
    ("both", "mean of DeViSE and ConSE"),
)
ABLATIONS = (
    ("tuned-{}", "own words, first synonym"),
    ("synonyms-{}", "mean of the synonyms"),
    ("centered-{}", "mean subtracted"),
    ("only-hypernyms-{}", "hypernym weight 0.8"),
    ("tuned-hypernyms-{}", "all three"),
    ("random-{}", "random vectors"),
    ("random-hypernyms-{}", "random vectors, all three"),
)
# The result of `vl evaluate-labels`, and on which images.
HIT_TABLES = (
    ("unseen among unseen", "unseen"),
    ("unseen among all", "unseen"),
    ("unseen among all, calibrated", "unseen"),
    ("unseen among unseen", "caltech"),
    ("unseen among all, calibrated", "caltech"),
)
COMPARED = ("tuned-hypernyms-devise", "tuned-hypernyms-conse", "best")
KS = (1, 2, 5, 10, 20)
HIT_COLUMNS = [f"hit@{k}" for k in KS]


class Results(NamedTuple):
    """The JSON files that the study wrote."""

    folder: Path

    def read(self, name: str, images: str) -> dict[str, Any]:
        """All that `vl evaluate-labels` printed for a labeller on a set of images."""
        if name == "tuned-hypernyms-both":
            name = "best"
        content: dict[str, Any] = json.loads((self.folder / f"{name}.{images}.json").read_text())
        return content

    def result(self, name: str, images: str, result: str) -> dict[str, Any]:
        """One of its results by name."""
        entry: dict[str, Any]
        (entry,) = (each for each in self.read(name, images)["results"] if each["name"] == result)
        return entry

    def hits(self, name: str, images: str, result: str = "unseen among unseen") -> list[float]:
        """hit@k in percent, for each of ``KS``."""
        return [100 * value for value in self.result(name, images, result)["hit"]]


@tyro.conf.configure(tyro.conf.PositionalRequiredArgs, tyro.conf.PositionalMetavarFromFieldName)
def main(output: Path) -> int:
    """Print the tables."""
    results = Results(output / "tables")
    for result, images in HIT_TABLES:
        print_hits(results, images, result)
    print("\nhierarchical precision, unseen among all")
    print_header("", [f"@{k}" for k in KS])
    for name in COMPARED:
        entry = results.result(name, "unseen", "unseen among all")
        print_row(name, [100 * value for value in entry["hierarchical_precision"]])
    print_ablations(results)
    print("\nCSLS, 200 labels")
    print_header("", HIT_COLUMNS)
    for name in COMPARED:
        print_row(f"{name}, without", results.hits(name, "unseen"))
        print_row(f"{name}, with", results.hits(name, "csls"))
    print_generalized(results)
    print(
        "\nnone of these (best, caltech):",
        json.dumps(results.read("best", "caltech")["none_of_these"]),
    )
    errors = {
        images: results.result("best", images, "unseen among unseen")["calibration_error"]
        for images in ("unseen", "caltech")
    }
    print("calibration error of the first label's probability (best):", json.dumps(errors))
    return 0


def print_hits(results: Results, images: str, result: str) -> None:
    """hit@k of every labeller, and by chance."""
    entry = results.result("best", images, result)
    num_labels = entry["candidates"]
    print(f"\n{result}: {entry['images']} images, {num_labels} labels ({images})")
    print_header("", HIT_COLUMNS)
    for suffix in ("", "-hypernyms"):
        for word_vectors in WORD_VECTORS:
            for method, description in METHODS:
                name = f"{word_vectors}{suffix}-{method}"
                print_row(
                    f"{word_vectors}{suffix}: {description}", results.hits(name, images, result)
                )
    print_row("chance", [100 * min(1, k / num_labels) for k in KS])


def print_ablations(results: Results) -> None:
    """hit@1 and hit@5 of DeViSE and ConSE, one setting at a time."""
    print("\nablations, 200 labels")
    print_header("", ["DeViSE hit@1", "hit@5", "ConSE hit@1", "hit@5"])
    for pattern, description in ABLATIONS:
        values = []
        for method in ("devise", "conse"):
            hits = results.hits(pattern.format(method), "unseen")
            values += [hits[KS.index(1)], hits[KS.index(5)]]
        print_row(description, values)
    for name in ("own-conse", "own-hypernyms-conse"):
        hits = results.hits(name, "unseen")
        print_row(f"{name} (ConSE only)", [hits[KS.index(1)], hits[KS.index(5)]])


def print_generalized(results: Results) -> None:
    """Accuracy on seen and unseen labels together, with and without calibrated stacking."""
    print("\ngeneralized, hit@1 by class")
    print_header("", ["seen", "unseen", "harmonic", "seen, calibrated", "unseen", "harmonic"])
    for name in ("tuned-devise", "tuned-conse", *COMPARED):
        entry = results.read(name, "both")["generalized"]
        values = [100 * value for mode in ("plain", "calibrated") for value in entry[mode].values()]
        print_row(name, values)


def print_header(title: str, columns: Sequence[str]) -> None:
    """The head of a Markdown table."""
    print(f"\n| {title} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")


def print_row(title: str, values: Sequence[float]) -> None:
    """A row of a Markdown table."""
    print(f"| {title} | {' | '.join(f'{value:.1f}' for value in values)} |")


if __name__ == "__main__":
    raise SystemExit(tyro.cli(main))
