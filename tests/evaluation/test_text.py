"""Scores as people read them: lines and tables, in which nothing of a caption is a command."""

import io

import pytest
from rich.console import Console

from vl.data.captions.captions import CaptionedImage
from vl.evaluation.pairing import Aligned
from vl.evaluation.records import Outcome, System
from vl.evaluation.text import bracketed, lines, tables, variety_rows
from vl.metrics.evaluator import Evaluator, paired, variety
from vl.metrics.significance import Interval

IMAGES = [
    CaptionedImage(7, "b.jpg", ("A brown dog runs.", "The dog is outside."), ""),
    CaptionedImage(3, "a.jpg", ("Two cats sleep on a bed.", "Cats on a bed"), ""),
]


def outcome(said: list[str], *, resamples: int = 20) -> Outcome:
    evaluator = Evaluator([image.captions for image in IMAGES], measures=["bleu", "rouge-l"])
    evaluated = evaluator(said)
    system = System("a.json", Aligned(IMAGES, said, 0, 0), evaluated)
    return Outcome(
        sources=["people.json"],
        evaluator=evaluator,
        system=system,
        against=system,
        figures=evaluator.figures(evaluated.scores, resamples=resamples),
        compared=paired(evaluated.scores, evaluated.scores, resamples=20),
        variety=variety(said),
        resamples=resamples,
        confidence=0.9,
        seed=0,
    )


def drawn(found: Outcome) -> str:
    screen = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    for table in tables(found):
        screen.print(table)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


@pytest.mark.parametrize("address", ["http://x.com/[/b]a", "http://x.com/[red]a"])
def test_brackets_in_a_caption_are_no_markup(address: str) -> None:
    found = outcome([address] * 2)
    shown = " ".join(["2", *variety([address]).commonest])
    assert "[" in shown
    assert shown in drawn(found)
    assert f"commonest {shown}" in lines(found)


def test_a_caption_commands_no_terminal() -> None:
    diversity = variety(["a dog"])._replace(commonest=("\x1b[31mred", "\ud83d"))
    assert variety_rows(diversity)["commonest"] == r"1 \x1b[31mred \ud83d"


def test_lines_and_tables_have_every_figure() -> None:
    found = outcome(["a brown dog", "cats on a bed"])
    text, table = lines(found), drawn(found)
    names = [figure.name for figure in found.figures]
    assert [line.split()[0] for line in text[:5]] == names
    for figure in found.figures:
        assert figure.interval
        bounds = f"[{figure.interval.low:.4f}, {figure.interval.high:.4f}]"
        assert f"{figure.name} {figure.value:.4f}  {bounds}" in text
        row = next(row for row in table.splitlines() if row.strip().startswith(figure.name))
        assert row.split() == [figure.name, f"{figure.value:.4f}", *bounds.split()]
    assert "images 2" in text
    assert "90 % interval" in table
    assert "against" in table
    assert sum(" against " in line for line in text) == len(names)


def test_without_intervals_there_is_no_column_for_them() -> None:
    found = outcome(["a brown dog", "cats on a bed"], resamples=0)._replace(compared=[])
    assert "interval" not in drawn(found)
    assert lines(found)[4] == f"ROUGE-L {found.figures[4].value:.4f}"


def test_intervals_are_bracketed() -> None:
    assert bracketed(Interval(0.27014, 0.2869)) == "[0.2701, 0.2869]"
    assert bracketed(Interval(-0.1, 0.2), "+") == "[-0.1000, +0.2000]"
