"""`vl evaluate-encoder`: figures, files, several models, and what is refused in a sentence."""

import json

import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.tiny_captioner import Tiny, drawings
from tests.helpers.tiny_captioner import encoder as tiny_encoder
from vl.__main__ import main
from vl.data.images.decode import decode, square
from vl.encoders import table
from vl.encoders.inception import Logits
from vl.encoders.table import ENCODERS
from vl.encoding import encoder_file
from vl.encoding.accuracy import wilson_interval
from vl.encoding.encoder_file import TrainedEncoder

CLASSES = ("ball", "box", "ring", "stop sign", "n01440764 tench, Tinca tinca")
FOLDERS = ("ball", "stop_sign", "n01440764_tench")


class Talkative(Tiny):
    """One that classifies, and whose answers differ from drawing to drawing."""

    def classify(self, pixels):
        embedding = self(pixels)
        return Logits(self.classifier(40 * (embedding - embedding.mean(1, keepdim=True))), ())


def talkative(seed=0):
    made = Talkative()
    made.load_state_dict(tiny_encoder(seed).state_dict())
    return made.eval()


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Talkative)


@pytest.fixture
def photographs(tmp_path):
    for number, name in enumerate(FOLDERS):
        drawings(tmp_path / "photographs" / name, 3 + number)
    return tmp_path / "photographs"


@pytest.fixture
def model(tmp_path):
    return saved(tmp_path / "model.safetensors")


def saved(path, seed=0, classes=CLASSES):
    encoder_file.save(path, TrainedEncoder(talkative(seed), "tiny", classes, {}))
    return path


def expected(photographs, *encoders):
    """Of each photograph its class's number, and the classes' probabilities, one by one."""
    found = []
    for number, name in zip((0, 3, 4), FOLDERS):
        for path in sorted((photographs / name).iterdir()):
            pixels = square(decode(path), 16, "squash")[None]
            with torch.inference_mode():
                each = [encoder.classify(pixels).main.softmax(1)[0] for encoder in encoders]
            found.append((path, number, torch.stack(each).mean(0)))
    found.sort(key=lambda item: item[0])
    return found


def evaluated(capsys, *arguments, code=0):
    assert main(["evaluate-encoder", *map(str, arguments)]) == code
    return capsys.readouterr()


def test_the_figures_are_those_of_counting_by_hand(photographs, model, capsys):
    by_hand = expected(photographs, talkative())
    first = sum(int(number == int(log_probs.argmax())) for _, number, log_probs in by_hand)
    assert 0 < first < len(by_hand)
    out, _ = evaluated(capsys, photographs, "--model", model, "--resize", "squash", "--json")
    record = json.loads(out)
    assert (record["images"], record["failures"], record["classes"]) == (12, 0, 5)
    (result,) = record["results"]
    assert result == {
        "crops": 1,
        "top1": pytest.approx(first / 12),
        "top1_interval": pytest.approx(wilson_interval(first, 12)),
        "top5": 1.0,
        "top5_interval": pytest.approx(wilson_interval(12, 12)),
    }
    assert record["models"][0]["encoder"] == "tiny"
    assert record["signature"].startswith(
        "tiny | 5 classes | crops 1 | resize squash | float32 | vl "
    )
    out, _ = evaluated(capsys, photographs, "--model", model, "--resize", "squash")
    low, high = wilson_interval(first, 12)
    cells = f"1 12 {100 * first / 12:.1f} {100 * low:.1f} to {100 * high:.1f} 100.0"
    assert " ".join(out.splitlines()[1].split()).startswith(cells)


def test_each_photograph_is_written_with_its_likeliest_classes(
    photographs, model, tmp_path, capsys
):
    two = saved(tmp_path / "two.safetensors", 1)
    path = tmp_path / "out.jsonl"
    arguments = (photographs, "--model", model, two, "--resize", "squash", "--output", path)
    out, _ = evaluated(capsys, *arguments)
    assert "tiny + tiny | 5 classes" in out
    records = [json.loads(line) for line in path.read_text().splitlines()]
    by_hand = expected(photographs, talkative(0), talkative(1))
    for record, (file, number, log_probs) in zip(records, by_hand, strict=True):
        assert (record["image"], record["class"]) == (str(file), CLASSES[number])
        best = log_probs.argsort(descending=True).tolist()
        assert [each["class"] for each in record["top"]] == [CLASSES[each] for each in best]
        found = [each["probability"] for each in record["top"]]
        assert found == pytest.approx(log_probs[best].tolist(), abs=1e-5)


def test_classes_and_confused_pairs_are_told(photographs, model, tmp_path, capsys):
    table, picture = tmp_path / "classes.tsv", tmp_path / "confusion.png"
    arguments = (photographs, "--model", model, "--resize", "squash", "--per-class", table)
    out, _ = evaluated(capsys, *arguments, "--confusion-matrix", picture, "--confused-pairs", 2)
    by_hand = expected(photographs, talkative())
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    assert rows[0] == ["class", "images", "top-1", "top-5"]
    assert [row[:2] for row in rows[1:]] == [
        ["ball", "3"],
        ["stop sign", "4"],
        ["n01440764 tench, Tinca tinca", "5"],
    ]
    for row, number in zip(rows[1:], (0, 3, 4), strict=True):
        hits = [
            int(log_probs.argmax()) == number for _, truth, log_probs in by_hand if truth == number
        ]
        assert row[2:] == [f"{100 * sum(hits) / len(hits):.1f}", "100.0"]
    pairs = {}
    for _, number, log_probs in by_hand:
        if (answer := int(log_probs.argmax())) != number:
            pairs[number, answer] = pairs.get((number, answer), 0) + 1
    (truth, answer), count = min(pairs.items(), key=lambda item: (-item[1], item[0]))
    of = {0: 3, 3: 4, 4: 5}[truth]
    assert f"{count} of {of} {CLASSES[truth]!r} predicted as {CLASSES[answer]!r}" in out
    assert min(decode(picture).shape[1:]) > 200


def test_several_numbers_of_crops_are_several_lines(photographs, model, capsys):
    arguments = (photographs, "--model", model, "--crops", 1, 10, "--json")
    record = json.loads(evaluated(capsys, *arguments)[0])
    assert [result["crops"] for result in record["results"]] == [1, 10]
    alone = evaluated(capsys, photographs, "--model", model, "--crops", 10, "--json")[0]
    assert json.loads(alone)["results"] == record["results"][1:]


def test_openvino_that_is_asked_for_and_cannot_is_said(photographs, model, capsys):
    found = evaluated(capsys, photographs, "--model", model, "--engine", "openvino")
    assert "going on with PyTorch" in found.err
    assert "OpenVINO" not in found.out


def test_a_list_does_as_well_as_folders(photographs, model, tmp_path, capsys):
    listed = tmp_path / "list.tsv"
    lines = [
        f"{path}\t{'n01440764' if 'tench' in name else name}\n"
        for name in FOLDERS
        for path in sorted((photographs / name).iterdir())
    ]
    listed.write_text("".join(lines))
    one = evaluated(capsys, listed, "--model", model, "--json")[0]
    assert one == evaluated(capsys, photographs, "--model", model, "--json")[0]
    problem = evaluated(capsys, listed, photographs, "--model", model, code=2).err
    assert "earlier" in problem


def test_a_photograph_that_cannot_be_read_is_reported_and_left_out(photographs, model, capsys):
    (photographs / "ball" / "1.png").write_bytes(b"no picture")
    out, err = evaluated(capsys, photographs, "--model", model, "--json", code=1)
    record = json.loads(out)
    assert (record["images"], record["failures"]) == (11, 1)
    assert "vl: error:" in err
    assert "1.png" in err
    out, _ = evaluated(capsys, photographs, "--model", model, code=1)
    assert "1 images could not be read" in out
    for path in photographs.rglob("*.png"):
        path.write_bytes(b"no picture")
    err = evaluated(capsys, photographs, "--model", model, code=2).err
    assert "none of 12 images" in err


def test_weights_are_evaluated_with_a_file_of_classes(photographs, model, tmp_path, capsys):
    names = tmp_path / "classes.txt"
    names.write_text("\n".join(CLASSES))
    arguments = (photographs, "--weights", model, "--encoder", "tiny", "--classes", names)
    found = json.loads(evaluated(capsys, *arguments, "--json")[0])
    bundled = json.loads(evaluated(capsys, photographs, "--model", model, "--json")[0])
    assert found["results"] == bundled["results"]
    names.write_text("\n".join(CLASSES[1:]))
    err = evaluated(capsys, *arguments, code=2).err
    assert "classes.txt has 4 classes, the classifier 5 outputs" in err


def test_of_fewer_than_five_classes_it_is_said(photographs, tmp_path, capsys, monkeypatch):
    class Three(Talkative):
        def __init__(self):
            super().__init__()
            self.classifier = torch.nn.Linear(self.width, 3)

    monkeypatch.setitem(ENCODERS, "tiny", Three)
    path = tmp_path / "three.safetensors"
    classes = ("ball", "stop sign", "tench")
    encoder_file.save(path, TrainedEncoder(Three(), "tiny", classes, {}))
    out, err = evaluated(capsys, photographs, "--model", path, "--json")
    assert json.loads(out)["results"][0]["top5"] == 1
    assert "vl: there are 3 classes" in err


def test_what_cannot_be_meant_is_refused_in_a_sentence(photographs, model, tmp_path, capsys):
    other = saved(tmp_path / "other.safetensors", 1, (*CLASSES[:4], "tench"))
    few = tmp_path / "few"
    drawings(few / "okapi", 1)
    names = tmp_path / "classes.txt"
    names.write_text("a\nb\n")
    blobs = tmp_path / "blobs.safetensors"
    save_file({"x": torch.zeros(1)}, blobs)
    cases = [
        (["--model", model], "no images"),
        ([photographs], "give --model, or --weights"),
        ([photographs, "--weights", blobs], "give --model, or --weights"),
        ([photographs, "--model", model, "--classes", names], "--model has its encoder"),
        ([photographs, "--model", model, model], "each once"),
        ([photographs, "--model", model, other], "other.safetensors"),
        ([few, "--model", model], "'okapi'"),
        ([photographs, "--model", blobs], "blobs.safetensors"),
        ([photographs, "--model", model, "--confused-pairs", -1], "--confused-pairs"),
        ([photographs, "--model", model, "--crops", 10, 10], "crops are '10 10'"),
        ([photographs, "--model", model, "--crops", 1, 10, "--resize", "squash"], "--resize"),
        ([photographs, "--model", model, "--confusion-matrix", "c.pdf"], "c.pdf"),
        ([tmp_path / "none", "--model", model], "none: No such file"),
    ]
    for arguments, message in cases:
        found = evaluated(capsys, *arguments, code=2)
        assert found.out == ""
        assert found.err.startswith("vl: error: ")
        assert message in found.err
        assert found.err.count("\n") == 1


def test_more_classes_than_can_be_drawn_are_refused(tmp_path, photographs, capsys):
    path = tmp_path / "lenet.safetensors"
    classes = (*CLASSES, *(f"class {number}" for number in range(196)))
    built = table.create_encoder("lenet5", {"classes": len(classes)})
    encoder_file.save(path, TrainedEncoder(built, "lenet5", classes, {}))
    arguments = (photographs, "--model", path, "--confusion-matrix", tmp_path / "x.png")
    err = evaluated(capsys, *arguments, code=2).err
    assert "up to 200 classes, these are 201" in err
    assert "top-1" in evaluated(capsys, *arguments[:3]).out


def test_a_last_layer_that_is_a_convolution_is_no_classifier(tmp_path, capsys, monkeypatch):
    def fetched(built, **choices):
        assert built.classifier.out_features == 1000

    monkeypatch.setattr("vl.encoding.pretrained.load_torchvision", fetched)
    drawings(tmp_path / "photographs" / "ball", 1)
    names = tmp_path / "classes.txt"
    names.write_text("".join(f"{name}\n" for name in ("ball", *range(999))))
    arguments = (tmp_path / "photographs", "--classes", names, "--encoder")
    err = evaluated(capsys, *arguments, "squeezenet1_1", code=2).err
    assert "squeezenet1_1 has no classifier on the embedding" in err
    out, _ = evaluated(capsys, *arguments, "shufflenet_v2_x0_5")
    assert "shufflenet_v2_x0_5 | 1000 classes" in out


def test_files_tell_of_the_last_number_of_crops(photographs, model, tmp_path, capsys):
    several, alone = tmp_path / "several.jsonl", tmp_path / "alone.jsonl"
    evaluated(capsys, photographs, "--model", model, "--crops", 1, 10, "--output", several)
    evaluated(capsys, photographs, "--model", model, "--crops", 10, "--output", alone)
    assert several.read_text() == alone.read_text()
    evaluated(capsys, photographs, "--model", model, "--output", alone)
    assert several.read_text() != alone.read_text()
