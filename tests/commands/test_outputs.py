"""Outputs of every command: no input, no other file and no second writer is overwritten."""

import dataclasses
import os
import shutil
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from PIL import Image

from vl.__main__ import COMMANDS, load, main
from vl.data.outputs import FileKind, FolderKind, lock_output

# A command line for each output; IN is a file and DIR a folder that exist, OUT is the output.
FILES = {
    "caption DIR --model IN --output OUT": ".json",
    "caption --model IN --save-model OUT": ".safetensors",
    "label DIR --model IN --labels a --coverage OUT": ".tsv",
    "label DIR --model IN --labels IN --contact-sheet OUT": ".png",
    "search IN --model IN --text a --contact-sheet OUT": ".png",
    "embed DIR --weights IN --output OUT": ".npy",
    "attack DIR --model IN --output-dir new --contact-sheet OUT": ".png",
    "train words IN --output OUT": ".bin",
    "import-weights IN --output OUT": ".safetensors",
    "evaluate IN --references IN --save-document-frequencies OUT": ".json",
    "evaluate IN --references IN --per-image OUT": ".jsonl",
    "evaluate IN --references IN --html OUT": ".html",
    "evaluate-labels DIR --model IN --per-class OUT": ".tsv",
    "evaluate-encoder DIR --model IN --per-class OUT": ".tsv",
    "evaluate-encoder DIR --model IN --confusion-matrix OUT": ".png",
    "evaluate-encoder DIR --model IN --output OUT": ".jsonl",
}
TRAINING = "--captions IN --train-list IN --dev-list IN --output-dir OUT"
FOLDERS = {
    "attack DIR --model IN --output-dir OUT": "",
    "shard DIR --output-dir OUT": "",
    "draw-world --output-dir OUT": "",
    "demo --output-dir OUT": "",
    "train encoder DIR --output-dir OUT": "encoder.safetensors",
    "finetune encoder DIR --pretrained IN --depth last --output-dir OUT": "encoder.safetensors",
    f"train captioner --embeddings IN {TRAINING}": "captioner.safetensors",
    f"finetune captioner --image-dir DIR --model IN {TRAINING}": "captioner.safetensors",
    f"self-critical captioner --embeddings IN --model IN {TRAINING}": "captioner.safetensors",
    "train labeller DIR --word-vectors IN --output-dir OUT": "labeller.safetensors",
    "finetune labeller DIR --model IN --output-dir OUT": "labeller.safetensors",
}


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Runs a command line, checks that it is refused and changes nothing, returns its error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DIR" / "class").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "DIR" / "class" / "a.png")

    def run(line, source, output):
        before = contents(tmp_path)
        names = {"IN": str(source), "OUT": str(output)}
        assert main([names.get(word, word) for word in line.split()]) == 2
        stdout, stderr = capsys.readouterr()
        assert (stdout, stderr.count("\n")) == ("", 1)
        assert contents(tmp_path) == before
        return stderr

    return run


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def outputs_of(flags):
    """The flags of a command that are outputs, by their types."""
    for name, hint in get_type_hints(flags, include_extras=True).items():
        if dataclasses.is_dataclass(hint):
            yield from outputs_of(hint)
        parts = [hint]
        for part in parts:
            parts += get_args(part)
        if any(isinstance(part, FileKind | FolderKind) for part in parts):
            yield f"--{name.replace('_', '-')}"


def test_the_tables_have_every_output():
    for name in COMMANDS:
        outputs = list(outputs_of(load(name)[0]))
        lines = [line.split() for line in (*FILES, *FOLDERS) if line.startswith(f"{name} ")]
        assert sorted(outputs) == sorted(line[line.index("OUT") - 1] for line in lines)


@pytest.mark.parametrize("link", [shutil.copy, os.link, os.symlink])
@pytest.mark.parametrize("line", FILES)
def test_an_input_is_not_overwritten(line, link, refused, tmp_path):
    if " IN " not in line:
        pytest.skip("reads no file")
    source, output = tmp_path / "source", tmp_path / f"output{FILES[line]}"
    source.write_bytes(b"\xff\xd8 some photograph")
    link(source, output)
    expected = "exists and is not" if link is shutil.copy else "is read by this command"
    assert expected in refused(line, source, output)
    if link is not shutil.copy:  # an input is not replaced even so
        assert "is read by this command" in refused(f"{line} --overwrite", source, output)


@pytest.mark.parametrize("line", FILES)
def test_a_name_of_another_kind_is_refused(line, refused, tmp_path):
    (tmp_path / "source").write_bytes(b"")
    assert f"must end in {FILES[line]}" in refused(line, tmp_path / "source", "output.jpg")


@pytest.mark.parametrize("line", FOLDERS)
def test_a_folder_that_is_read_or_a_file_is_refused(line, refused, tmp_path):
    source, name = tmp_path / "source", FOLDERS[line]
    source.write_bytes(b"text")
    assert "source: a file, not a folder" in refused(line, source, source)
    if "DIR" in line.split():
        assert "DIR is read by this command" in refused(line, source, tmp_path / "DIR" / ".")
    if name:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / name).write_bytes(b"other")
        assert f"{name} exists and is not" in refused(line, source, tmp_path / "run")
        if " IN " in line:
            assert "is read by" in refused(line, tmp_path / "run" / name, tmp_path / "run")


@pytest.mark.parametrize("line", [*FILES, "attack DIR --model IN --output-dir OUT"])
def test_a_second_writer_is_refused(line, refused, tmp_path):
    (tmp_path / "source").write_bytes(b"a b c\n" * 9)
    if line.startswith(("caption DIR", "embed")):
        pytest.skip("locked once the model is loaded")
    output = tmp_path / f"output{FILES.get(line, '')}"
    with lock_output(output, folder=line not in FILES):
        assert f"{output}: process {os.getpid()} on " in refused(line, tmp_path / "source", output)


@pytest.mark.parametrize("line", ["shard DIR --output-dir OUT", "draw-world --output-dir OUT"])
def test_a_second_writer_of_a_folder_is_refused(line, refused, tmp_path):
    with lock_output(tmp_path / "out", folder=True):
        assert f"out: process {os.getpid()} on " in refused(line, "", tmp_path / "out")


def test_overwrite_replaces_another_kind(tmp_path, capsys):
    page = tmp_path / "p.html"
    page.write_text("<p>mine</p>")
    for name in ("results", "references"):
        (tmp_path / name).write_text("a dog\n")
    arguments = [
        "evaluate",
        str(tmp_path / "results"),
        "--references",
        str(tmp_path / "references"),
    ]
    arguments += ["--metrics", "bleu", "--html", str(page)]
    assert main(arguments) == 2
    assert page.read_text() == "<p>mine</p>"
    assert main([*arguments, "--overwrite"]) == 0
    assert "generator" in page.read_text()
    assert main(arguments) == 0  # of the same kind
    assert not list(Path(tmp_path).glob(".*"))
