import json

import pytest

from vl.__main__ import main
from vl.commands import encoders as command
from vl.encoders.flops import ModelSize
from vl.encoders.table import ENCODERS

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


def test_the_columns_stand_below_each_other(capsys, monkeypatch):
    counts = {
        "inception_v1_torchvision": ModelSize(6_624_904, 5_599_904, 1_498_376_192, 224, 1024),
        "lenet5": ModelSize(60_850, 60_000, 326_520, 32, 84),
        "vit_h_14": ModelSize(633_470_440, 632_189_440, 1_016_716_764_160, 518, 1280),
    }
    monkeypatch.setattr(command, "counted", lambda name, width_factor: counts[name])
    lines = said(capsys, *counts)
    ends = {line.index("  ", line.index(",")) for line in lines[1:]}
    assert len(ends) == 1  # of the first numbers
    assert lines[0].index("weights") == lines[2].index("none published")
    assert lines[0].index("weights") == lines[3].index("torchvision's vit_h_14")


def test_ours_are_listed_and_those_to_compare_with_or_all_there_are_once(capsys, monkeypatch):
    counts = ModelSize(1, 2, 3, 4, 5)
    monkeypatch.setattr(command, "counted", lambda name, width_factor: counts)
    lines = said(capsys)
    assert [line.split()[0] for line in lines[1:]] == [*OURS, "alexnet", "resnet50"]
    names = [line.split()[0] for line in said(capsys, "--all")[1:]]
    assert names[:6] == OURS
    assert sorted(names) == sorted(ENCODERS)


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
    ("arguments", "message"),
    [
        (["lenet5", "--all"], "names and --all were given; --all has every name"),
        (["lenet5", "resnet5"], "no encoder 'resnet5'; close to it are resnet50"),
        (["lenet5", "--width-factor", "2"], "lenet5 has no choice of width_factor; those that"),
        (["--all", "--width-factor", "2"], "inception_v1_torchvision has no choice of width_f"),
        (["--width-factor", "0"], "width factor is 0.0; a finite number above 0 was expected"),
        (["--width-factor", "nan"], "width factor is nan; a finite number above 0 was expected"),
    ],
)
def test_a_wrong_wish_is_refused_before_the_first_line(capsys, arguments, message):
    assert main(["encoders", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"vl: error: {message}")
