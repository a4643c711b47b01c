"""Contact sheets of labelled images and of search results."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from vl import sheets
from vl.labelling.candidates import Answer
from vl.labelling.image_search import ImageQuery
from vl.search.index import Hit

MAX_LABELLED = 60  # images on a sheet of labelled images
_MAX_LABELS = 10  # below an image
_COLUMNS = 5
_SEARCH_IMAGE_HEIGHT = 180  # pixels
_GREY, _PALE_GREY = "#888888", "#dddddd"


def label_cell(path: Path, answer: Answer, missing: Sequence[str]) -> sheets.Cell:
    """An image above its labels; a bar is the probability, or else the cosine.

    Args:
        path: of the image.
        answer: its labels.
        missing: labels without a vector to list last.
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


def write_search_sheet(
    path: Path, query: ImageQuery, hits: Sequence[Hit], *, image_dir: Path
) -> list[Exception]:
    """Write the query's images, framed, above the images found, as .png.

    Args:
        path: output file.
        query: stands above all as a sum.
        hits: what was found.
        image_dir: where the images lie; a name never leads out of it.

    Returns:
        Why images could not be drawn; they are empty frames.

    Raises:
        ValueError: there are too many images.
        OSError: the file cannot be written.
    """
    cells: list[sheets.Cell | None] = [
        sheets.Cell(image, [sheets.Line(sheets.file_name(image)), sheets.Line("query")], "tab:red")
        for image in query.images
    ]
    cells += [None] * (-len(cells) % _COLUMNS)  # hits begin on a new row
    cells += [
        sheets.Cell(
            _inside(image_dir, name),
            [sheets.Line(sheets.file_name(Path(name))), sheets.Line(f"{cosine:.4f}")],
        )
        for name, cosine in hits
    ]
    return sheets.write(
        path, cells, columns=_COLUMNS, image_height=_SEARCH_IMAGE_HEIGHT, title=str(query)
    )


def _inside(folder: Path, name: str) -> Path:
    """The path of an image; a name never leads out of the folder."""
    relative = PurePosixPath(name)
    outside = relative.is_absolute() or ".." in relative.parts
    return folder / (relative.name if outside else relative)
