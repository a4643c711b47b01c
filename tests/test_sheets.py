"""Contact sheets: where images, bars and frames are drawn, and what cannot be drawn."""

import numpy as np
import pytest
import torch
from PIL import Image

from vl import sheets

COLORS = [(10, 200, 10), (10, 10, 200), (200, 200, 10)]


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def mask_of(pixels, color):
    """Where the sheet has a color, as a tuple or in hexadecimal."""
    if isinstance(color, str):
        color = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    return (np.abs(pixels - np.array(color)) < 8).all(2)


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path, color in zip(paths, COLORS):
        Image.new("RGB", (40, 30), color).save(path)
    return paths


def test_images_stand_above_their_bars_in_reading_order(tmp_path, images):
    cells = [sheets.Cell(path, [sheets.Line("label", "50%", 0.5)]) for path in images]
    sheet = tmp_path / "new" / "sheet.png"
    assert sheets.write(sheet, [*cells[:2], None, cells[2]], columns=3) == []
    pixels = pixels_of(sheet)
    bars = np.argwhere(mask_of(pixels, sheets.BAR_COLOR))
    boxes = [np.argwhere(mask_of(pixels, color)) for color in COLORS]
    for box in boxes:
        below = bars[(bars[:, 0] > box[:, 0].max()) & (bars[:, 0] < box[:, 0].max() + 25)]
        assert ((below[:, 1] >= box[:, 1].min() - 3) & (below[:, 1] <= box[:, 1].max() + 3)).any()
    assert boxes[0][:, 1].max() < boxes[1][:, 1].min()
    assert boxes[0][:, 0].max() < boxes[2][:, 0].min()  # None left the first row's end empty
    assert boxes[0][:, 1].mean() == pytest.approx(boxes[2][:, 1].mean(), abs=2)


def test_bars_fill_a_fraction_of_the_width(tmp_path, images):
    lengths = []
    for fraction in (0.25, 1.0, 3.0, -1.0):
        sheets.write(tmp_path / "a.png", [sheets.Cell(images[0], [sheets.Line("", "", fraction)])])
        lengths.append(int(mask_of(pixels_of(tmp_path / "a.png"), sheets.BAR_COLOR).sum(1).max()))
    assert lengths[0] == pytest.approx(lengths[1] / 4, abs=2)
    assert lengths[1] == pytest.approx(sheets.CELL_WIDTH, abs=2)
    assert lengths[2:] == [lengths[1], 0]


def test_tensors_are_drawn_without_smoothing(tmp_path):
    pixels = torch.zeros(3, 4, 4)
    pixels[0, ::2] = 1
    sheets.write(tmp_path / "a.png", [sheets.Cell(pixels)], image_height=sheets.CELL_WIDTH)
    drawn = pixels_of(tmp_path / "a.png")
    red, black = mask_of(drawn, (255, 0, 0)).sum(), mask_of(drawn, (0, 0, 0)).sum()
    assert red == pytest.approx(sheets.CELL_WIDTH**2 / 2, rel=0.02)
    assert black == pytest.approx(red, rel=0.02)


def test_frames_titles_and_headings_are_drawn(tmp_path, images):
    plain, framed = tmp_path / "plain.png", tmp_path / "framed.png"
    sheets.write(plain, [sheets.Cell(images[0])])
    cell = sheets.Cell(images[0], (), "#ff00ff")
    sheets.write(framed, [cell], title="cat + dog $", headings=["clean"])
    assert not mask_of(pixels_of(plain), "#ff00ff").any()
    assert mask_of(pixels_of(framed), "#ff00ff").any()
    assert len(pixels_of(framed)) == len(pixels_of(plain)) + 60


def test_odd_names_and_texts_are_drawn_without_warnings(tmp_path, images):
    """Formulas, terminal escapes and letters that no font has."""
    odd = images[0].rename(tmp_path / "$x^{$\x1b.png")
    texts = ["$\\$ {" * 20, "\u5b57\U0001f99c", "\x1b[1m\n", "\udce4", sheets.file_name(odd)]
    lines = [sheets.Line(text, "50%", 0.5) for text in texts]
    missing = sheets.Cell(tmp_path / "missing.png", lines)
    failures = sheets.write(tmp_path / "a.png", [sheets.Cell(odd, lines), missing], title="$ \x1b")
    assert [type(error) for error in failures] == [FileNotFoundError]


@pytest.mark.parametrize("count", [0, sheets.MAX_CELLS + 1])
def test_refuses_too_few_and_too_many_cells(tmp_path, count):
    with pytest.raises(ValueError, match="contact sheet"):
        sheets.write(tmp_path / "a.png", [None] * count)


def test_long_texts_are_shortened():
    assert sheets.file_name(sheets.Path("a/b/c.png")) == "b/c.png"
    assert len(sheets.file_name(sheets.Path("x" * 99))) == sheets.LINE_LENGTH
    assert [line.text[-3:] for line in sheets.wrap("word " * 99, 2)][-1] == "..."
