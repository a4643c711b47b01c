"""`vl draw`: the same world however it was drawn, and never two in one folder."""

import pytest

from vl.__main__ import main
from vl.commands import draw_world as draw
from vl.data.world import files as world_files
from vl.data.world.files import picture_name
from vl.data.world.scenes import SPLITS

FEW = (
    *("--training", "5", "--development", "2", "--test", "3", "--held-out-combinations", "2"),
    *("--held-out-kinds", "2", "--side", "64", "--words", "100"),
)


def drawn(folder, *flags):
    return main(["draw", "--out", str(folder), *FEW, *flags])


def held(folder):
    """All that is in a folder, by its path."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


@pytest.fixture
def world(tmp_path, capsys):
    assert drawn(tmp_path / "a" / "world") == 0
    return tmp_path / "a" / "world"


def test_a_world_is_whole(world, capsys):
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "draw 14/14" in stderr
    assert f"14 pictures of 5 splits in {world}, 0 of them from before" in stderr
    files = held(world)
    assert sum(name.endswith(".jpg") for name in files) == 14
    expected = {"world.json", "text.txt", "words.txt", "is_a.txt", "kinds-seen.txt"}
    expected |= {f"kinds-unseen-{hops}-hops.txt" for hops in (2, 3)}
    for split in SPLITS:
        expected |= {f"captions-{split}.json", f"truth-{split}.jsonl"}
        expected |= {f"{split}.txt", f"{split}-looks.txt"}
    assert {name for name in files if not name.startswith("pictures/")} == expected


def test_the_same_seed_gives_the_same_files_and_another_one_others(world, tmp_path):
    drawn(tmp_path / "b")
    assert held(tmp_path / "b") == held(world)
    drawn(tmp_path / "c", "--seed", "1")
    other = held(tmp_path / "c")
    name = f"pictures/test/{picture_name('test', 0)}"
    assert other[name] != held(world)[name]
    assert other["text.txt"] != held(world)["text.txt"]
    assert other["words.txt"] == held(world)["words.txt"]


@pytest.mark.slow
def test_several_processes_draw_the_same(world, tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(draw, "_AT_ONCE", 3)
    drawn(tmp_path / "b", "--workers", "2")
    assert held(tmp_path / "b") == held(world)


def test_a_run_that_was_stopped_goes_on(world, tmp_path, monkeypatch, capsys):
    before = world_files.encoded
    count = 0

    def stops(pixels):
        nonlocal count
        count += 1
        if count > 6:
            raise KeyboardInterrupt
        return before(pixels)

    monkeypatch.setattr(world_files, "encoded", stops)
    out = tmp_path / "b"
    assert drawn(out) == 130
    there = held(out)
    assert sum(name.endswith(".jpg") for name in there) == 6
    assert not any(name.startswith("captions") for name in there)
    monkeypatch.setattr(world_files, "encoded", before)
    capsys.readouterr()
    assert drawn(out) == 0
    assert "14 pictures of 5 splits" in (stderr := capsys.readouterr().err)
    assert "6 of them from before" in stderr
    assert held(out) == held(world)


def test_drawing_again_draws_nothing(world, monkeypatch, capsys):
    monkeypatch.setattr(world_files, "draw", lambda *_, **__: pytest.fail("it was drawn again"))
    files = held(world)
    assert drawn(world) == 0
    assert "14 of them from before" in capsys.readouterr().err
    assert held(world) == files


def test_another_world_in_the_folder_is_refused_in_one_line(world, capsys):
    files = held(world)
    capsys.readouterr()
    assert drawn(world, "--seed", "3") == 2
    stderr = capsys.readouterr().err
    expected = f"{world}: it holds another world (seed 0 there and 3 here); name another folder"
    assert stderr == f"vl: error: {expected}\n"
    assert held(world) == files


@pytest.mark.parametrize(
    ("flag", "value", "problem"),
    [
        ("--side", "32", "--side is 32; it must be at least 64 and at most 224"),
        ("--training", "-1", "--training is -1; it must be at least 0"),
        ("--held-out-kinds", "-2", "--held-out-kinds is -2; it must be at least 0"),
        ("--words", "-1", "--words is -1"),
        ("--seed", "-1", "--seed is -1"),
        ("--workers", "0", "--workers is 0"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(tmp_path, capsys, flag, value, problem):
    assert main(["draw", "--out", str(tmp_path / "w"), flag, value]) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "w").exists()
