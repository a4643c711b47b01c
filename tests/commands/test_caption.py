"""`vl caption`: only results on stdout, failed inputs reported, the others captioned."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.tiny_captioner import Tiny, captioner, decoder, drawings
from vl.__main__ import main
from vl.captioning.captioner import Captioner
from vl.captioning.search import SearchSettings
from vl.encoders.table import ENCODERS, create_encoder
from vl.evaluation.read import read_results

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "captioner.safetensors"
    captioner().save(path)
    return path


@pytest.fixture
def images(tmp_path):
    return drawings(tmp_path / "images", 5)


def run(model, *arguments):
    return main(["caption", "--model", str(model), "--batch-size", "2", *map(str, arguments)])


def lines_of(paths, batch):
    return [f"{path}\t{best.text}" for path, (best, *_) in zip(paths, batch, strict=True)]


def test_prints_a_line_for_each_image(model, images, capsys):
    assert run(model, images[3], images[0].parent) == 0
    paths = [images[3], *images]
    expected = lines_of(paths, captioner()(paths))
    assert len({line.split("\t")[1] for line in expected}) > 2  # else the order is untested
    stdout, stderr = capsys.readouterr()
    assert stdout.splitlines() == expected
    assert "caption 6/6" in stderr


def test_prints_the_n_best_with_log_probabilities(model, images, capsys):
    assert run(model, images[0], "--n-best", 3) == 0
    (captions,) = captioner()([images[0]], n_best=3)
    assert capsys.readouterr().out.splitlines() == [
        f"{images[0]}\t{caption.log_prob:.3f}\t{caption.text}" for caption in captions
    ]


@pytest.mark.parametrize("n_best", [1, 2])
def test_prints_json_lines(model, images, capsys, n_best):
    assert run(model, *images[:2], "--json", "--n-best", n_best) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["path"] for line in lines] == [str(path) for path in images[:2]]
    for line, captions in zip(lines, captioner()(images[:2], n_best=n_best), strict=True):
        assert line.keys() == {"path", "captions"}
        for record, caption in zip(line["captions"], captions, strict=True):
            log_prob = pytest.approx(caption.log_prob, abs=1e-5)
            assert record == {**caption._asdict(), "log_prob": log_prob}


def test_reads_paths_from_stdin(model, images, capsys, monkeypatch):
    unusual = images[2].rename(images[2].with_name(" an image é.png"))
    listing = f"{images[4]}\r\n\n{unusual}\n{images[0].parent}".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listing)))
    assert run(model, images[1], "-") == 0
    paths = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    in_folder = sorted([*images[:2], *images[3:], unusual])
    assert paths == [str(path) for path in [images[1], images[4], unusual, *in_folder]]


def test_writes_results_in_coco_format(model, images, tmp_path, capsys):
    names = ["COCO_val2014_000000000042.png", "000000000007.png", "1000268201_693b08cb0e.png"]
    names.append("IMG_202401021530.png")  # a date and a time of day
    paths = [path.rename(path.with_name(name)) for path, name in zip(images, names)]
    output = tmp_path / "new" / "results.json"
    assert run(model, *paths, "--output", output) == 0
    texts = [best.text for (best,) in captioner()(paths)]
    assert list(read_results(output).items()) == list(zip([42, 7, *names[2:]], texts, strict=True))
    stdout, stderr = capsys.readouterr()
    assert len(stdout.splitlines()) == 4
    assert f"4 captions in {output}" in stderr
    records = json.loads(output.read_text())
    assert [record.get("file_name") for record in records] == [*names[:2], None, None]


def test_reports_failed_inputs_and_captions_the_others(model, images, tmp_path, capsys):
    images[1].write_bytes(b"")
    missing, empty, output = tmp_path / "none.png", tmp_path / "empty", tmp_path / "results.json"
    empty.mkdir()
    assert run(model, missing, images[0].parent, empty, "--output", output) == 1
    stdout, stderr = capsys.readouterr()
    read = [images[0], *images[2:]]
    assert [line.split("\t")[0] for line in stdout.splitlines()] == [str(path) for path in read]
    for path in (missing, images[1], empty):
        assert f"vl: error: {path}: " in stderr
    assert "3 of 7 inputs failed" in stderr
    assert list(read_results(output)) == [path.name for path in read]


def test_all_inputs_may_fail(model, images, tmp_path, capsys):
    images[0].write_text("no image")
    output = tmp_path / "results.json"
    assert run(model, images[0], tmp_path / "none.png", "--output", output) == 1
    assert run(model, tmp_path / "none.png") == 1
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.count("vl: error: ") == 3
    assert "2 of 2 inputs failed" in stderr
    assert read_results(output) == {}


@pytest.mark.parametrize("paths", [[], ["empty"], ["empty", "empty"], ["-"]])
def test_refuses_no_images(model, tmp_path, capsys, monkeypatch, paths):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    assert run(model, *paths, "--output", "results.json") == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.startswith("vl: error: ")
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize("form", ["{:012}.png", "IMG_20240102153{}.png", "COCO_val2014_{:012}.png"])
@pytest.mark.parametrize("coco", [True, False])
def test_captions_are_evaluated_against_the_references_of_the_same_image(
    model, images, tmp_path, capsys, form, coco
):
    """In COCO's file each image has the id that the next one's name says."""
    paths = [path.rename(path.with_name(form.format(i))) for i, path in enumerate(images, 1)]
    output, references = tmp_path / "results.json", tmp_path / "references"
    assert run(model, *paths, "--output", output) == 0
    texts = [f"{text} dog dog dog dog {text}" for text in read_results(output).values()]
    records = json.loads(output.read_text())
    for record, text in zip(records, texts, strict=True):
        record["caption"] = text
    output.write_text(json.dumps(records))
    if coco:
        ids = [index % 5 + 1 for index in range(1, 6)]
        content = {
            "images": [{"id": i, "file_name": path.name} for i, path in zip(ids, paths)],
            "annotations": [
                {"id": i, "image_id": i, "caption": text} for i, text in zip(ids, texts)
            ],
        }
        references.write_text(json.dumps(content))
    else:
        lines = [f"{path.name}#0\t{text}\n" for path, text in zip(paths, texts)]
        references.write_text("".join(lines))
    capsys.readouterr()
    command = ["evaluate", output, "--references", references, "--json", "--num-resamples", 0]
    assert main(list(map(str, command))) == 0
    stdout, stderr = capsys.readouterr()
    assert json.loads(stdout)["BLEU-4"] == pytest.approx(100)
    assert ("ids and names disagree" in stderr) == (coco and not form.startswith("IMG"))


def test_images_of_one_name_have_folders_in_their_ids(model, images, tmp_path):
    (twin,) = drawings(tmp_path / "twins", 1)
    output = tmp_path / "results.json"
    assert run(model, *images, twin, images[0], "--output", output) == 0  # one of them twice
    expected = ["images/0.png", *(f"{index}.png" for index in range(1, 5)), "twins/0.png"]
    assert list(read_results(output)) == expected
    numbered = [path.rename(path.with_name("000000000007.png")) for path in (images[0], twin)]
    assert run(model, *numbered, "--output", output) == 0
    expected = ["images/000000000007.png", "twins/000000000007.png"]
    assert list(read_results(output)) == expected


@pytest.mark.parametrize("output", ["file/results.json", "file/deeper/results.json", "folder"])
def test_refuses_an_output_that_cannot_be_written(model, images, tmp_path, capsys, output):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    assert run(model, *images, "--output", tmp_path / output) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.startswith(f"vl: error: {tmp_path / output}: ")
    assert "Errno" not in stderr


def test_file_names_that_are_not_utf_8_are_escaped(model, images, tmp_path, capsys):
    unusual = images[0].rename(os.fsdecode(os.fsencode(images[0].parent) + b"/\xff.png"))
    assert run(model, unusual, images[1]) == 0
    assert run(model, unusual, images[1], "--json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].split("\t")[0].endswith("\\udcff.png")
    assert os.fsencode(json.loads(lines[2])["path"]).endswith(b"\xff.png")
    assert run(model, unusual, "--output", tmp_path / "results.json") == 0
    (record,) = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert os.fsencode(record["image_id"]) == b"\xff.png"


def test_lines_can_be_split_whatever_a_name_holds(model, images, capsys):
    names = ["a\tb\n.png", '"c\\d.png', "\x85\u2028.png", os.fsdecode(b"\xe9.png"), "-e.png"]
    for image, name in zip(images, names, strict=True):
        image.rename(image.parent / name)
    assert run(model, images[0].parent, "--n-best", 2) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert {len(fields) for fields in lines} == {3}
    paths = [
        path.encode("latin-1", "backslashreplace").decode("unicode_escape") for path, *_ in lines
    ]
    expected = sorted(images[0].parent / name for name in names)
    assert paths[::2] == paths[1::2] == [str(path) for path in expected]


def test_search_flags_reach_the_search(model, images, capsys):
    search = SearchSettings(
        num_beams=2, max_length=6, min_length=4, no_repeat_ngram_size=1, length_penalty=0.7
    )
    flags = ["--num-beams", 2, "--max-length", 6, "--min-length", 4, "--no-repeat-ngram-size", 1]
    assert run(model, *images, *flags, "--length-penalty", 0.7) == 0
    assert capsys.readouterr().out.splitlines() == lines_of(
        images, captioner()(images, search=search)
    )
    assert run(model, *images, "--rank-by", "minimum-bayes-risk") == 0
    search = SearchSettings(max_length=8, rank_by="minimum-bayes-risk")
    assert capsys.readouterr().out.splitlines() == lines_of(
        images, captioner()(images, search=search)
    )


def test_several_models_are_an_ensemble_that_can_be_saved(model, images, tmp_path, capsys):
    other, both = tmp_path / "other.safetensors", tmp_path / "both.safetensors"
    captioner(1).save(other)
    ensemble = captioner(decoders=[decoder(0), decoder(1)])
    assert main(["caption", *map(str, images), "--model", str(model), str(other)]) == 0
    assert capsys.readouterr().out.splitlines() == lines_of(images, ensemble(images))
    flags = ["--model", str(model), str(other), "--save-model", str(both), "--num-beams", "2"]
    assert main(["caption", *flags]) == 0  # without images it only saves
    assert capsys.readouterr().out == ""
    loaded = Captioner.load(both)
    assert (len(loaded.decoders), loaded.search.num_beams) == (2, 2)
    assert run(both, *images, "--num-beams", 3) == 0
    assert capsys.readouterr().out.splitlines() == lines_of(images, ensemble(images))


@pytest.mark.parametrize(
    "flags",
    [
        *(["--n-best", 4], ["--num-beams", 0], ["--num-beams", 10**7]),
        *(["--min-length", 5, "--max-length", 3], ["--device", "tpu"], ["--device", "cuda:99"]),
    ],
)
def test_refuses_values_out_of_range_before_any_work(model, images, capsys, flags):
    missing = images[0].with_name("none.png")
    assert run(model, *images, missing, *flags) == 2  # 1 would mean that images came first
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.startswith("vl: error: ")
    assert flags[0].strip("-").replace("-", "") in stderr.replace("_", "").replace("-", "")


def test_refuses_what_is_no_captioner(images, tmp_path, capsys):
    assert run(images[0], images[0]) == 2
    assert "0.png" in capsys.readouterr().err
    assert run(tmp_path / "none.safetensors", images[0]) == 2
    assert "none.safetensors" in capsys.readouterr().err
    assert main(["caption", "image.jpg", "--model"]) == 2
    assert "--model" in capsys.readouterr().err


def test_a_closed_pipe_is_no_error(model, images, capsys, monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert run(model, *images) == 141
    assert capsys.readouterr() == ("", "")


def test_lines_are_flushed_after_each_batch(model, images, monkeypatch):
    counts = []

    class Recorder(io.StringIO):
        def flush(self):
            counts.append(len(self.getvalue().splitlines()))

    monkeypatch.setattr(sys, "stdout", Recorder())
    assert run(model, *images) == 0
    assert counts[:3] == [2, 4, 5]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.4, 1, 1.5, 2, 2.5, 3])
def test_an_interruption_at_any_time_is_one_line(tmp_path, seconds):
    """While libraries are imported, and afterwards; then the same command goes on."""
    network = create_encoder("lenet5", {"classes": 2})
    made = captioner(encoder=network, encoder_name="lenet5", decoders=[decoder(width=84)])
    made.save(tmp_path / "model.safetensors")
    drawings(tmp_path / "images", 60)
    flags = ["--model", "model.safetensors", "--output", "results.json", "--batch-size", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "vl", "caption", "images", *flags],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell in the background has its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        stderr = process.communicate()[1]
    if not (tmp_path / "results.json").exists():  # else a fast machine was done before
        assert process.returncode == 130
        assert stderr.startswith("vl: interrupted") and stderr.count("\n") == 1


def test_captions_go_on_where_a_command_was_interrupted(model, images, tmp_path, capsys):
    output = tmp_path / "results.json"

    class Interrupted(io.StringIO):
        def flush(self):
            if len(self.getvalue().splitlines()) > 2:
                raise KeyboardInterrupt

    with contextlib.redirect_stdout(Interrupted()):
        assert run(model, *images, "--output", output) == 130
    assert "the captions of 4 images are in" in capsys.readouterr().err
    assert run(model, *images, "--output", output) == 0
    assert capsys.readouterr().out.splitlines() == lines_of(images, captioner()(images))
    assert list(read_results(output)) == [path.name for path in images]
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*"))


def test_a_closed_pipe_does_not_stop_the_file(model, images, tmp_path, capsys, monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert run(model, *images, "--output", tmp_path / "results.json") == 0
    assert len(read_results(tmp_path / "results.json")) == len(images)
