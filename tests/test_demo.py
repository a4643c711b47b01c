"""`vl demo` from end to end, with fewer drawings than a person would want."""

import pytest

from vl.__main__ import main
from vl.captioner import Captioner
from vl.commands import demo


@pytest.mark.slow
def test_a_tiny_demo_leaves_a_captioner_and_says_how_good_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "_HELD", 4)
    flags = ["demo", "--out", str(tmp_path / "demo"), "--pictures", "20", "--epochs", "1"]
    assert main(flags) == 0
    *captions, scores, named = capsys.readouterr().out.splitlines()
    paths = [tmp_path / "demo" / f"drawing-{index}.png" for index in range(3)]
    assert [line.partition("\t")[0] for line in captions] == list(map(str, paths))
    assert scores.startswith("BLEU-1 0.") and scores.endswith("  drawings 4  references 5")
    assert named.startswith("colour and kind both right in ") and "of 4 captions" in named
    made = Captioner.load(tmp_path / "demo" / "captioner.safetensors")
    # The files are rounded to 8 bits, which may change a caption of so little training.
    again = " ".join(found[0].text for found in made(paths))
    said = " ".join(line.partition("\t")[2] for line in captions)
    assert set(f"{again} {said}".split()) <= set(made.vocabulary.words)
    assert main(flags) == 2
    assert "holds a run already; choose another folder" in capsys.readouterr().err
