"""Captions in a part: an interrupted command goes on, and a part that does not fit is removed."""

import json
import os
import resource

import pytest

from tests.helpers.tiny_captioner import captioner, drawings
from vl.captioning.results import caption_files, caption_writer
from vl.captioning.search import SearchSettings
from vl.data.errors import FormatError
from vl.evaluation.read import read_results


def captions(model, paths, output, *, stop=None, n_best=1):
    """Caption files into an output, or until ``stop`` images have captions."""
    result = {}
    with caption_writer(output, model, n_best=n_best) as writer:
        before = len(writer)
        for batch in caption_files(model, paths, writer, n_best=n_best):
            result |= dict(zip(batch.indices, batch.captions, strict=True))
            if stop is not None and len(result) >= stop:
                raise KeyboardInterrupt
        writer.finish({paths[index].name: best.text for index, (best, *_) in result.items()})
    return before, result


@pytest.fixture
def model():
    model = captioner()
    model.embedder.batch_size = 2
    return model


@pytest.fixture
def interrupted(model, tmp_path):
    """Images, and the output of an interrupted command that has captioned four of seven."""
    paths, output = drawings(tmp_path / "images", 7), tmp_path / "results.json"
    with pytest.raises(KeyboardInterrupt, match=r"4 images are in .*results\.json\.part, and the"):
        captions(model, paths, output, stop=3)
    assert not output.exists()
    return paths, output


def test_an_interrupted_command_goes_on(model, interrupted):
    paths, output = interrupted
    before, result = captions(model, paths, output)
    assert before == 4
    expected = [best.text for best, *_ in model(paths)]
    assert [best.text for best, *_ in result.values()] == expected
    assert list(read_results(output).values()) == expected
    assert list(output.parent.iterdir()) == [paths[0].parent, output]
    assert captions(model, paths, output)[0] == 0  # a finished output is made anew


def test_an_image_that_has_changed_is_captioned_again(model, interrupted):
    paths, output = interrupted
    paths[6].replace(paths[1])
    del paths[6]
    captions(model, paths, output)
    assert list(read_results(output).values()) == [best.text for best, *_ in model(paths)]


def test_an_image_may_be_deleted_once_it_is_read(model, tmp_path):
    paths, output = drawings(tmp_path / "images", 3), tmp_path / "results.json"
    expected = [best.text for best, *_ in model(paths)]

    class Deleting(type(model)):
        def stream(self, files, **options):
            for batch in super().stream(files, **options):
                for path in paths:
                    path.unlink(missing_ok=True)
                yield batch

    model.__class__ = Deleting
    _, result = captions(model, paths, output)
    assert [best.text for best, *_ in result.values()][:2] == expected[:2]


def test_a_line_without_an_end_is_left_out(model, interrupted):
    paths, output = interrupted
    part = output.with_name("results.json.part")
    os.truncate(part, part.stat().st_size - 5)
    assert captions(model, paths, output)[0] == 3
    assert list(read_results(output).values()) == [best.text for best, *_ in model(paths)]


@pytest.mark.parametrize("change", ["model", "search", "n_best", "cut", "text"])
def test_a_part_that_does_not_fit_is_removed(model, interrupted, change, caplog):
    paths, output = interrupted
    part = output.with_name("results.json.part")
    lines = part.read_bytes().splitlines(keepends=True)
    if change == "model":
        model = captioner(1)
    elif change == "search":
        model.search = SearchSettings(num_beams=2, max_length=8)
    elif change == "cut":
        part.write_bytes(lines[0] + lines[1][:9] + b"".join(lines[2:]))
    elif change == "text":
        part.write_bytes(lines[0] + lines[1] + json.dumps([1, 2]).encode() + b"\n")
    before, _ = captions(model, paths, output, n_best=2 if change == "n_best" else 1)
    assert before == 0
    assert "results.json.part is removed" in caplog.text
    assert list(read_results(output).values()) == [best.text for best, *_ in model(paths)]


def test_a_file_that_is_no_part_is_refused(model, tmp_path):
    (tmp_path / "results.json.part").write_text("my notes\n")
    with pytest.raises(FormatError, match="not a part of captions"):
        captions(model, [], tmp_path / "results.json")
    assert (tmp_path / "results.json.part").read_text() == "my notes\n"


def test_a_full_disk_keeps_whole_lines(model, tmp_path):
    paths, output = drawings(tmp_path / "images", 7), tmp_path / "results.json"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (900, limits[1]))
    try:
        with pytest.raises(OSError, match=r"results\.json\.part: File too large; the captions of"):
            captions(model, paths, output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    part = output.with_name("results.json.part").read_bytes()
    assert part.endswith(b"\n")
    assert captions(model, paths, output)[0] == part.count(b"\n") - 1 > 0
    assert list(read_results(output).values()) == [best.text for best, *_ in model(paths)]


def test_one_command_at_a_time_has_a_part(model, tmp_path):
    output = tmp_path / "results.json"
    with (
        caption_writer(output, model, n_best=1),
        pytest.raises(BlockingIOError, match=r"results\.json: process \d+"),
        caption_writer(output, model, n_best=1),
    ):
        pass
