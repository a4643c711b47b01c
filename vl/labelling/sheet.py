"""Contact sheets of labelled images."""

from collections.abc import Sequence
from pathlib import Path

from vl import sheets
from vl.labelling.candidates import Answer

MAX_LABELLED = 60  # images on a sheet of labelled images
_MAX_LABELS = 10  # below an image
_GREY, _PALE_GREY = "#888888", "#dddddd"


def label_cell(path: Path, answer: Answer, missing: Sequence[str]) -> sheets.Cell:
    """An image above its labels, those without a vector last.

    A bar is the probability, or else the cosine.
    """
    rejected = answer.none_of_these
    lines = [sheets.Line(sheets.file_name(path), color="#666666")]
    if rejected:
        lines.append(sheets.Line("none of these", color="#b00020", bold=True))
    for rank, (text, cosine, probability, _) in enumerate(answer.predictions[:_MAX_LABELS]):
        best = rank == 0 and not rejected
        lines.append(
            sheets.Line(
                text,
                f"{cosine:.2f}" if probability is None else f"{probability:.0%}",
                cosine if probability is None else probability,
                color=_GREY if rejected else "black",
                bar_color=_PALE_GREY
                if rejected
                else sheets.BAR_COLOR
                if best
                else sheets.PALE_BAR_COLOR,
                bold=best,
            )
        )
    room = _MAX_LABELS - len(answer.predictions)
    lines += [sheets.Line(text, "no vector", color=_GREY) for text in missing[: max(room, 0)]]
    return sheets.Cell(path, lines)
