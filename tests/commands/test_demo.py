"""`vl demo` from end to end on a small world."""

import json

import pytest

from vl.__main__ import main
from vl.captioning.captioner import Captioner
from vl.data.world.kinds import SEEN
from vl.encoding.encoder_file import load
from vl.labelling.labeller import Labeller

TRAININGS = ("encoder", "labeller-devise", "labeller-conse")


@pytest.mark.slow
def test_small_demo_writes_page_and_models_and_prints_results(tmp_path, capsys):
    output = tmp_path / "demo"
    flags = ["demo", "--output-dir", str(output)]
    flags += ["--training-images", "40", "--evaluation-images", "12"]
    assert main(flags) == 0
    stdout, stderr = capsys.readouterr()
    for title in ("Captions", "Attributes in captions", "Zero-shot labels"):
        assert title in stdout
    for split in ("test", "held-out-combinations", "held-out-kinds"):
        assert len(json.loads((output / f"captions-{split}.json").read_text())) == 12
        assert str(output / "world" / "pictures" / split / f"{split}-000000.jpg") in stdout
    assert "vl caption" in stdout
    assert "vl: train encoder: " in stderr
    encoder = load(output / "encoder" / "encoder.safetensors")
    assert (encoder.name, encoder.classes) == ("inception_v1_bn", SEEN)
    captioner = Captioner.load(output / "captioner" / "captioner.safetensors")
    image = output / "world" / "pictures" / "test" / "test-000000.jpg"
    assert captioner([image])[0][0].text in stdout
    for method in ("devise", "conse", "random"):
        labeller = Labeller.load(output / f"labeller-{method}" / "labeller.safetensors")
        assert labeller([image], labels=["wheel", "moon"])[0].predictions
    assert (output / "report.html").read_text().count("data:image/jpeg") == 36
    assert main(flags) == 2
    assert "--output-dir" in capsys.readouterr().err

    # As after a kill: a training is over, and its model file is not written.
    (output / "report.html").unlink()
    models = [output / name / f"{name.split('-')[0]}.safetensors" for name in TRAININGS]
    before = [model.read_bytes() for model in models]
    for model in models:
        model.unlink()
    (output / "world" / "pictures" / "test" / "test-000000.jpg").unlink()
    words = (output / "words.bin").stat().st_mtime_ns
    assert main(flags) == 0
    assert [model.read_bytes() for model in models] == before
    assert (output / "words.bin").stat().st_mtime_ns == words


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("demo.json", '{"training_images": 50}', "training_images was 50, is 40"),
        ("words.bin", "", "is not empty"),
    ],
)
def test_refuses_a_folder_of_something_else(tmp_path, capsys, name, text, message):
    (tmp_path / name).write_text(text)
    assert main(["demo", "--output-dir", str(tmp_path), "--training-images", "40"]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--training-images", "39"),
        ("--evaluation-images", "5"),
        ("--seed", "-1"),
        ("--device", "gpu"),
    ],
)
def test_refuses_invalid_flags(tmp_path, capsys, flag, value):
    assert main(["demo", "--output-dir", str(tmp_path / "demo"), flag, value]) == 2
    assert f"is {value}" in capsys.readouterr().err.replace("'", "")
    assert not (tmp_path / "demo").exists()
