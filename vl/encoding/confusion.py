"""Results by class: accuracy as a table, and the confusion matrix as an image."""

from collections.abc import Sequence
from pathlib import Path

from vl import sheets
from vl.data.tsv import tsv_line
from vl.encoding.accuracy import HitCounts

MOST_CLASSES = 200  # of a confusion matrix; with more it has thousands of pixels a side


def per_class_table(counts: HitCounts, classes: Sequence[str]) -> str:
    """Lines of class, images, top-1 and top-5 in percent, between tabs; classes with images."""
    lines = ["class\timages\ttop-1\ttop-5"]
    for index in counts.images.nonzero().flatten().tolist():
        images = int(counts.images[index])
        shares = (100 * int(hits[index]) / images for hits in (counts.top_1, counts.top_5))
        lines.append(tsv_line(classes[index], str(images), *(f"{share:.1f}" for share in shares)))
    return "\n".join(lines) + "\n"


def draw_confusion_matrix(path: Path, counts: HitCounts, classes: Sequence[str]) -> None:
    """Draw the confusion matrix: rows are true classes, darker is a larger share of the row.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure  # slow to import, and seldom needed

    matrix = counts.confusion_matrix().float()
    shares = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    side = 3 + 0.16 * len(classes)  # inches: a class's name is 0.1 high
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    names = [sheets.clean(name)[:40] for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=7, parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    sheets.save(path, figure)
