"""`vl demo` from end to end, with fewer pictures than a person would want."""

import json

import pytest

from vl.__main__ import main
from vl.captioning.captioner import Captioner
from vl.commands import demo
from vl.demo import stages as demo_stages
from vl.encoding.encoder_file import load
from vl.labelling.labeller import Labeller


@pytest.mark.slow
def test_a_tiny_demo_leaves_a_page_and_bundles_and_says_how_good_they_are(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(demo_stages.Sizes, "__new__", _small(demo_stages.Sizes.__new__))
    monkeypatch.setattr(demo, "_SHOWN", 2)
    out = tmp_path / "demo"
    flags = ["demo", "--out", str(out), "--pictures", "40", "--judged", "12"]
    assert main(flags) == 0
    printed, said = capsys.readouterr()
    for heading in ("Captions", "What captions say", "Labels of kinds that no picture shows"):
        assert heading in printed
    for split in ("test", "held-out-combinations", "held-out-kinds"):
        assert len(json.loads((out / f"captions-{split}.json").read_text())) == 12
        assert str(out / "world" / "pictures" / split / f"{split}-000000.jpg") in printed
    assert "vl caption" in printed
    assert "vl: train encoder: " in said
    assert load(out / "encoder" / "encoder.safetensors").name == "inception_v1_bn"
    captioner = Captioner.load(out / "captioner" / "captioner.safetensors")
    picture = out / "world" / "pictures" / "test" / "test-000000.jpg"
    assert captioner([picture])[0][0].text in printed
    labeller = Labeller.load(out / "labeller-devise" / "labeller.safetensors")
    assert labeller([picture], labels=["wheel", "moon"])[0].labels
    page = (out / "report.html").read_text()
    assert page.count("data:image/jpeg") == 6
    assert main(flags) == 2
    assert "is there already; choose another folder" in capsys.readouterr().err


def _small(new):
    """Little of everything but what the flags say."""

    def made(cls, **sizes):
        little = {"side": 64, "words": 6000}
        epochs = {"picture_epochs": 1, "caption_epochs": 1}
        return new(cls, **{**little, **epochs, **sizes})

    return made


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--pictures", "39"], "--pictures is 39; it must be at least 40"),
        (["--judged", "5"], "--judged is 5; it must be at least 12"),
        (["--seed", "-1"], "--seed is -1; it must be at least 0"),
        (["--device", "gpu"], "device is 'gpu'"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, capsys, flags, message):
    assert main(["demo", "--out", str(tmp_path / "demo"), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
