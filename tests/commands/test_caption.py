"""`vl caption`: results on stdout and nothing else, bad inputs reported, the rest done."""

import io
import json
import os
import sys

import pytest

from tests.helpers.tiny_captioner import Tiny, captioner, decoder, drawings
from vl.__main__ import main
from vl.captioning.captioner import Captioner
from vl.captioning.search import Search
from vl.commands import caption
from vl.encoders.table import ENCODERS
from vl.evaluation.results import read_results


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "captioner.safetensors"
    captioner().save(path)
    return path


@pytest.fixture
def photos(tmp_path):
    return drawings(tmp_path / "photos", 5)


def run(model, *arguments):
    return main(["caption", "--model", str(model), "--batch-size", "2", *map(str, arguments)])


def test_a_line_a_photograph(model, photos, capsys):
    assert run(model, photos[3], photos[0].parent) == 0
    said = captioner()([photos[3], *photos])
    assert len({one.text for (one,) in said}) > 2  # else mixing them up would not show
    stdout, stderr = capsys.readouterr()
    assert stdout.splitlines() == [
        f"{path}\t{one.text}" for path, (one,) in zip([photos[3], *photos], said, strict=True)
    ]
    assert "caption 6/6" in stderr


def test_the_n_best_with_their_log_probabilities(model, photos, capsys):
    assert run(model, photos[0], "--n-best", 3) == 0
    (said,) = captioner()([photos[0]], n_best=3)
    assert capsys.readouterr().out.splitlines() == [
        f"{photos[0]}\t{one.log_prob:.3f}\t{one.text}" for one in said
    ]


@pytest.mark.parametrize("n_best", [1, 2])
def test_json_lines(model, photos, capsys, n_best):
    assert run(model, *photos[:2], "--json", "--n-best", n_best) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    said = captioner()(photos[:2], n_best=n_best)
    assert [line["path"] for line in lines] == [str(path) for path in photos[:2]]
    for line, captions in zip(lines, said, strict=True):
        assert line.keys() == {"path", "captions"}
        assert [one["text"] for one in line["captions"]] == [one.text for one in captions]
        assert [one["ended"] for one in line["captions"]] == [one.ended for one in captions]
        assert [one["log_prob"] for one in line["captions"]] == pytest.approx(
            [one.log_prob for one in captions], abs=1e-5
        )


def test_paths_on_stdin(model, photos, capsys, monkeypatch):
    odd = photos[2].with_name(" a photo é.png")
    photos[2].rename(odd)
    listed = f"{photos[4]}\r\n\n{odd}\n{photos[0].parent}".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
    assert run(model, photos[1], "-") == 0
    paths = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    inside = sorted([*photos[:2], *photos[3:], odd])
    assert paths == [str(path) for path in [photos[1], photos[4], odd, *inside]]


def test_results_in_coco_s_format(model, tmp_path, capsys):
    folder = tmp_path / "photos"
    one, other, third = drawings(folder, 3)
    one = one.rename(folder / "COCO_val2014_000000000042.png")
    other = other.rename(folder / "000000000007.png")
    third = third.rename(folder / "1000268201_693b08cb0e.png")
    odd = drawings(folder, 1)[0].rename(folder / "20230101123456789012.png")  # no number of COCO's
    out = tmp_path / "new" / "results.json"
    assert run(model, one, other, third, odd, "--out", out) == 0
    said = [each.text for (each,) in captioner()([one, other, third, odd])]
    results = read_results(out)
    assert list(results.items()) == list(
        zip([42, 7, "1000268201_693b08cb0e.png", "20230101123456789012.png"], said, strict=True)
    )
    stdout, stderr = capsys.readouterr()
    assert len(stdout.splitlines()) == 4
    assert f"4 captions in {out}" in stderr


def test_inputs_that_fail_are_reported_and_the_rest_is_done(model, photos, tmp_path, capsys):
    photos[1].write_bytes(b"")
    gone, empty, out = tmp_path / "gone.png", tmp_path / "empty", tmp_path / "results.json"
    empty.mkdir()
    assert run(model, gone, photos[0].parent, empty, "--out", out) == 1
    stdout, stderr = capsys.readouterr()
    done = [photos[0], *photos[2:]]
    assert [line.split("\t")[0] for line in stdout.splitlines()] == [str(path) for path in done]
    assert f"vl: error: {gone}: No such file or directory\n" in stderr
    assert f"vl: error: {photos[1]}: the file is empty\n" in stderr
    assert f"vl: error: {empty}: the folder has no image" in stderr
    assert "3 of 7 inputs failed" in stderr
    assert list(read_results(out)) == [path.name for path in done]


def test_where_all_inputs_fail_that_is_said(model, photos, tmp_path, capsys):
    photos[0].write_text("no photograph")
    out = tmp_path / "results.json"
    assert run(model, photos[0], tmp_path / "gone.png", "--out", out) == 1
    assert run(model, tmp_path / "gone.png") == 1
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.count("gone.png: No such file or directory\n") == 2
    assert "2 of 2 inputs failed" in stderr
    assert read_results(out) == {}


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "vl: error: no photographs are given\n"),
        (["empty"], "empty: the folder has no image"),
        (["empty", "empty"], "empty: the folder has no image"),
        (["-"], "vl: error: no photographs are given\n"),
    ],
)
def test_nothing_to_do_is_wrong_use(model, tmp_path, capsys, monkeypatch, paths, message):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    assert run(model, *paths, "--out", "results.json") == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert message in stderr
    assert not (tmp_path / "results.json").exists()


def test_two_files_of_one_image_are_refused_before_anything_is_lost(
    model, photos, tmp_path, capsys
):
    (twin,) = drawings(tmp_path / "twins", 1)
    out = tmp_path / "results.json"
    out.write_text("[]")
    assert run(model, *photos, twin, "--out", out) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert f"{photos[0]} and {twin} are both image '0.png'" in stderr
    assert out.read_text() == "[]"
    assert run(model, *photos, twin) == 0  # without --out nothing is mixed up
    assert run(model, photos[0], photos[0], "--out", out) == 0  # one image, twice


@pytest.mark.parametrize("place", ["file/results.json", "file/deeper/results.json", "folder"])
def test_a_place_that_cannot_be_written_to_is_found_before_any_work(
    model, photos, tmp_path, capsys, place
):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    assert run(model, *photos, "--out", tmp_path / place) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.startswith(f"vl: error: {tmp_path / place}: ")
    assert "Errno" not in stderr


def test_a_name_that_is_not_utf_8_is_captioned_and_escaped(model, photos, tmp_path, capsys):
    odd = photos[0].rename(os.fsdecode(os.fsencode(photos[0].parent) + b"/\xff.png"))
    assert run(model, odd, photos[1]) == 0
    assert run(model, odd, photos[1], "--json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].split("\t")[0].endswith("\\udcff.png")
    assert os.fsencode(json.loads(lines[2])["path"]).endswith(b"\xff.png")
    assert run(model, odd, "--out", tmp_path / "results.json") == 2
    assert "has no name in UTF-8, so --out fails" in capsys.readouterr().err


def test_search_flags_reach_the_search(model, photos, capsys):
    flags = ["--beam", 2, "--max-length", 6, "--min-length", 4, "--block-ngram", 1]
    assert run(model, *photos, *flags, "--length-power", 0.7, "--n-best", 2) == 0
    search = Search(beam=2, max_length=6, min_length=4, block_ngram=1, length_power=0.7)
    said = captioner()(photos, search=search, n_best=2)
    found = [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()]
    assert found == [one.text for captions in said for one in captions]


def test_several_models_vote_and_are_saved_as_one(model, photos, tmp_path, capsys):
    other, both = tmp_path / "other.safetensors", tmp_path / "both.safetensors"
    captioner(1).save(other)
    voting = captioner(decoders=[decoder(0), decoder(1)])
    expected = [f"{p}\t{one.text}" for p, (one,) in zip(photos, voting(photos), strict=True)]
    assert main(["caption", *map(str, photos), "--model", str(model), str(other)]) == 0
    assert capsys.readouterr().out.splitlines() == expected
    arguments = ["--model", str(model), str(other), "--save", str(both), "--beam", "3"]
    assert main(["caption", *arguments]) == 0  # no photographs: only saved
    assert capsys.readouterr().out == ""
    assert len(Captioner.load(both).decoders) == 2
    assert run(both, *photos) == 0
    assert capsys.readouterr().out.splitlines() == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--n-best", 4], "n-best is 4; it must be from 1 to the beam, 3"),
        (["--n-best", 0], "n-best is 0"),
        (["--beam", 0], "beam is 0; it must be from 1"),
        (["--beam", 10**7], "beam is 10000000; it must be from 1"),
        (["--max-length", 0], "max length is 0"),
        (["--max-length", 3, "--min-length", 5], "at least 5 words cannot end within max length 3"),
        (["--length-power", "nan"], "length power is nan"),
        (["--batch-size", 0], "batch size is 0"),
        (["--device", "tpu"], "device is 'tpu'; it must be auto, cpu, cuda"),
        (["--device", "cuda:99"], "device is cuda:99, but"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_any_work(
    model, photos, capsys, flags, message
):
    gone = photos[0].with_name("gone.png")
    assert run(model, *photos, *flags) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert message in stderr
    assert stderr.startswith("vl: error: ")
    if "--batch-size" not in flags:
        assert run(model, gone, *flags) == 2  # 1 would mean that photographs came first


def test_a_file_that_is_no_captioner_is_refused(photos, tmp_path, capsys):
    assert run(photos[0], photos[0]) == 2
    assert "0.png: not a whole safetensors file" in capsys.readouterr().err
    assert run(tmp_path / "none.safetensors", photos[0]) == 2
    assert "none.safetensors: there is no such file" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_no_error(model, photos, capsys, monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert run(model, *photos) == 141
    assert capsys.readouterr() == ("", "")


def test_lines_are_there_as_soon_as_a_batch_is_done(model, photos, tmp_path, monkeypatch):
    path = tmp_path / "out.txt"
    seen = []
    whole = caption.Embedder.files

    def files(self, paths):
        for part in whole(self, paths):
            seen.append(len(path.read_text().splitlines()))
            yield part

    monkeypatch.setattr(caption.Embedder, "files", files)
    with path.open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert run(model, *photos) == 0
    assert seen == [0, 2, 4]


def test_a_model_flag_without_a_file_is_refused(capsys):
    assert main(["caption", "photo.jpg", "--model"]) == 2
    assert capsys.readouterr().err == "vl: error: --model wants a captioner's file\n"
