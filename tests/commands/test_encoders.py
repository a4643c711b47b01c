import json

import pytest

from vl.__main__ import main
from vl.encoders.flops import ModelSize
from vl.encoders.torchvision_features import torchvision_names

OURS = [
    "inception_v1",
    "inception_v1_bn",
    "inception_v1_torchvision",
    "bn_inception",
    "inception_v3",
    "lenet5",
]


def said(capsys, *arguments):
    assert main(["encoders", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


def test_a_line_has_size_cost_side_width_and_weights(capsys):
    head, ours, theirs = said(capsys, "inception_v1", "alexnet")
    assert head.split() == [
        *("encoder", "parameters", "for", "embedding", "multiply-adds"),
        *("image", "width", "weights"),
    ]
    cells = [cell.strip() for cell in ours.split("  ") if cell]
    assert cells == [
        *("inception_v1", "6,998,552", "5,973,552", "1,582,671,872", "224 x 224", "1,024"),
        "BVLC's, from a file",
    ]
    assert "61,100,840" in theirs  # num_params in torchvision's weights
    assert theirs.endswith("4,096  torchvision's alexnet IMAGENET1K_V1")


def test_columns_are_aligned(capsys):
    lines = said(capsys, "inception_v1_torchvision", "lenet5", "resnet18")
    ends = {line.index("  ", line.index(",")) for line in lines[1:]}
    assert len(ends) == 1  # of the parameters
    assert lines[0].index("weights") == lines[2].index("none published")
    assert lines[0].index("weights") == lines[3].index("torchvision's resnet18")


def test_lists_ours_with_comparisons_or_all_encoders(capsys, monkeypatch):
    size = ModelSize(1, 2, 3, 4, 5)
    monkeypatch.setattr("vl.encoders.flops.model_size", lambda name, width_factor: size)
    names = [line.split()[0] for line in said(capsys)[1:]]
    assert names == [*OURS, "alexnet", "resnet50"]
    names = [line.split()[0] for line in said(capsys, "--all")[1:]]
    assert names[:6] == OURS
    assert sorted(names) == sorted({*OURS, *torchvision_names()})


def test_json_is_a_line_an_encoder(capsys):
    lines = [
        json.loads(line) for line in said(capsys, "lenet5", "inception_v1_torchvision", "--json")
    ]
    assert lines[0] == {
        "name": "lenet5",
        "parameters": 60_850,
        "embedding_parameters": 60_000,
        "multiply_adds": 326_520,
        "image_size": 32,
        "width": 84,
        "weights": None,
    }
    assert lines[1]["weights"] == "torchvision's googlenet IMAGENET1K_V1"


def test_a_name_given_twice_is_listed_once(capsys):
    assert len(said(capsys, "lenet5", "lenet5")) == 2


def test_a_width_factor_lists_those_that_have_one_and_no_weights(capsys):
    lines = [json.loads(line) for line in said(capsys, "--width-factor", "0.25", "--json")]
    assert [line["name"] for line in lines] == ["inception_v1", "inception_v1_bn", "bn_inception"]
    assert {line["width"] for line in lines} == {256}
    assert {line["weights"] for line in lines} == {None}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lenet5", "--all"], "--all"),
        (["lenet5", "resnet5"], "close to it are resnet50"),
        (["lenet5", "--width-factor", "2"], "lenet5 has no option width_factor"),
        (["--width-factor", "0"], "--width-factor"),
        (["--width-factor", "nan"], "--width-factor"),
    ],
)
def test_refuses_invalid_arguments_before_the_first_line(capsys, arguments, words):
    assert main(["encoders", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("vl: error: ")
    assert words in err
