"""`vl draw-world`: reproducible files, resumed runs, invalid arguments."""

import pytest

from vl.__main__ import main
from vl.data.world.files import image_name
from vl.data.world.scenes import SPLITS

SMALL = (
    *("--training", "5", "--development", "2", "--test", "3", "--held-out-combinations", "2"),
    *("--held-out-kinds", "2", "--side", "64", "--words", "100"),
)


def draw(folder, *flags):
    return main(["draw-world", "--output-dir", str(folder), *SMALL, *flags])


def contents(folder):
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


@pytest.fixture
def world(tmp_path, capsys):
    assert draw(tmp_path / "a" / "world") == 0
    return tmp_path / "a" / "world"


def test_world_is_complete_and_resumed(world, capsys):
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert f"14 images of 5 splits in {world}, 0 of them from before" in stderr
    files = contents(world)
    assert sum(name.endswith(".jpg") for name in files) == 14
    expected = {"world.json", "text.txt", "words.txt", "is_a.txt", "kinds-seen.txt"}
    expected |= {f"kinds-unseen-{hops}-hops.txt" for hops in (2, 3)}
    for split in SPLITS:
        expected |= {f"captions-{split}.json", f"truth-{split}.jsonl"}
        expected |= {f"{split}.txt", f"{split}-looks.txt"}
    assert {name for name in files if not name.startswith("pictures/")} == expected
    assert draw(world) == 0
    assert "14 of them from before" in capsys.readouterr().err
    assert contents(world) == files


def test_the_seed_determines_the_files(world, tmp_path):
    draw(tmp_path / "b")
    files = contents(world)
    assert contents(tmp_path / "b") == files
    draw(tmp_path / "c", "--seed", "1")
    other_files = contents(tmp_path / "c")
    image = f"pictures/test/{image_name('test', 0)}"
    assert {
        name for name in (image, "text.txt", "words.txt") if files[name] == other_files[name]
    } == {"words.txt"}


def test_refuses_a_folder_of_another_world(world, capsys):
    files = contents(world)
    capsys.readouterr()
    assert draw(world, "--seed", "3") == 2
    stderr = capsys.readouterr().err
    assert "another world (seed was 0, is 3)" in stderr
    assert stderr.count("\n") == 1
    assert contents(world) == files


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--side", "32"),
        ("--training", "-1"),
        ("--held-out-kinds", "-2"),
        ("--words", "-1"),
        ("--seed", "-1"),
        ("--num-workers", "0"),
    ],
)
def test_refuses_flags_out_of_range(tmp_path, capsys, flag, value):
    assert draw(tmp_path / "w", flag, value) == 2
    assert f"{flag} is {value}" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()
