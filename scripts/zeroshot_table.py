"""The tables of docs/zeroshot.md from what scripts/reproduce_zeroshot.sh left.

python scripts/zeroshot_table.py OUT
"""

import json
import sys
from pathlib import Path
from typing import Any

WORDS = ("paper", "tuned")
METHODS = (
    ("devise", "DeViSE, first violation"),
    ("devise-full", "DeViSE, full sum"),
    ("conse", "ConSE"),
    ("both", "mean of DeViSE and ConSE"),
)
MEANS = (
    ("tuned-{}", "own words, first synonym"),
    ("synonyms-{}", "mean of the synonyms"),
    ("centre-{}", "centred"),
    ("only-kinds-{}", "kinds 0.8"),
    ("tuned-kinds-{}", "all three"),
    ("random-{}", "random vectors"),
    ("random-kinds-{}", "random vectors, all three"),
)
KS = (1, 2, 5, 10, 20)


def main() -> int:
    """Print them."""
    if len(sys.argv) != 2:
        print("usage: python scripts/zeroshot_table.py OUT", file=sys.stderr)
        return 2
    tables = Path(sys.argv[1]) / "tables"

    def read(name: str, part: str) -> dict[str, Any]:
        if name == "tuned-kinds-both":
            name = "best"
        held: dict[str, Any] = json.loads((tables / f"{name}.{part}.json").read_text())
        return held

    def hits(name: str, part: str, result: str) -> list[float]:
        held = next(each for each in read(name, part)["results"] if each["name"] == result)
        return [100 * value for value in held["hit"]]

    def row(text: str, values: list[float]) -> None:
        print(f"| {text} | {' | '.join(f'{value:.1f}' for value in values)} |")

    def head(text: str, columns: list[str]) -> None:
        print(f"\n| {text} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")

    columns = [f"hit@{k}" for k in KS]
    for result, part in (
        ("unseen among unseen", "unseen"),
        ("unseen among all", "unseen"),
        ("unseen among all, stacking", "unseen"),
        ("unseen among unseen", "caltech"),
        ("unseen among all, stacking", "caltech"),
    ):
        sample = next(each for each in read("best", part)["results"] if each["name"] == result)
        print(f"\n{result}: {sample['images']} photographs, {sample['candidates']} labels ({part})")
        head("", columns)
        for kinds in ("", "-kinds"):
            for words in WORDS:
                for method, text in METHODS:
                    name = f"{words}{kinds}-{method}"
                    row(f"{words}{kinds}: {text}", hits(name, part, result))
        row("chance", [100 * min(1, k / sample["candidates"]) for k in KS])
    print("\nhierarchical precision, unseen among all")
    head("", [f"@{k}" for k in KS])
    for name in ("tuned-kinds-devise", "tuned-kinds-conse", "best"):
        held = read(name, "unseen")["results"]
        value = next(each for each in held if each["name"] == "unseen among all")
        row(name, [100 * each for each in value["hierarchical_precision"]])
    print("\nwhat each means brings, 200 labels")
    head("", ["DeViSE hit@1", "hit@5", "ConSE hit@1", "hit@5"])
    for pattern, text in MEANS:
        values = []
        for method in ("devise", "conse"):
            found = hits(pattern.format(method), "unseen", "unseen among unseen")
            values += [found[0], found[2]]
        row(text, values)
    for name in ("own-conse", "own-kinds-conse"):
        row(f"{name} (ConSE only)", hits(name, "unseen", "unseen among unseen")[::2][:2])
    print("\nCSLS, 200 labels")
    head("", columns)
    for name in ("tuned-kinds-devise", "tuned-kinds-conse", "best"):
        row(f"{name}, without", hits(name, "unseen", "unseen among unseen"))
        row(f"{name}, with", hits(name, "csls", "unseen among unseen"))
    print("\ngeneralised, hit@1 by class")
    head("", ["seen", "unseen", "harmonic", "seen, stacking", "unseen", "harmonic"])
    for name in ("tuned-devise", "tuned-conse", "tuned-kinds-devise", "tuned-kinds-conse", "best"):
        found = read(name, "both")["generalised"]
        row(name, [100 * each for how in ("plain", "stacking") for each in found[how].values()])
    rejection = read("best", "caltech")["none_of_these"]
    print("\nnone of these (best, caltech):", json.dumps(rejection))
    errors = {
        part: next(
            each["calibration_error"]
            for each in read("best", part)["results"]
            if each["name"] == "unseen among unseen"
        )
        for part in ("unseen", "caltech")
    }
    print("error of the first label's probability (best):", json.dumps(errors))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
