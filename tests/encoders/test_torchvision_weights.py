"""Weights as torchvision publishes them: the same answers, and downloads that cannot be trusted."""

import contextlib
import os
import re
from pickle import dumps

import pytest
import torch
from torchvision import models

from tests.helpers.nonzero_weights import (
    as_torchvision_feeds_it,
    check_told_apart,
    silence_dropout,
    stir,
)
from vl.encoders.inception import inception_v1_torchvision
from vl.encoders.inception_v3 import inception_v3
from vl.encoders.torchvision_features import TorchvisionFeatures
from vl.encoders.weights import (
    fetch_torchvision,
    fingerprint,
    from_torchvision_features,
    from_torchvision_googlenet,
    from_torchvision_inception_v3,
    load_torchvision,
)

CLASSES = 10


# torchvision's state dicts


@pytest.fixture(scope="module")
def googlenet():
    """What torchvision has, fed as its pretrained weights are: pixels normalised twice."""
    network = models.GoogLeNet(
        num_classes=CLASSES,
        aux_logits=True,
        transform_input=True,
        init_weights=False,
        dropout=0.0,
        dropout_aux=0.0,
    )
    return stir(network)


def test_googlenet_s_state_gives_googlenet_s_logits(googlenet):
    ours = inception_v1_torchvision(classes=CLASSES).eval()
    from_torchvision_googlenet(googlenet.state_dict(), ours)
    pixels = torch.rand(2, 3, 96, 80)
    with torch.no_grad():
        theirs = googlenet.eval()(as_torchvision_feeds_it(pixels))
        torch.testing.assert_close(ours.classify(pixels).main, theirs, rtol=1e-4, atol=1e-4)
    check_told_apart(theirs)


def test_googlenet_s_heads_give_googlenet_s_logits(googlenet):
    ours = inception_v1_torchvision(classes=CLASSES, auxiliary=True).train()
    silence_dropout(ours)
    from_torchvision_googlenet(googlenet.state_dict(), ours)
    pixels = torch.rand(3, 3, 112, 96)
    before = {name: tensor.clone() for name, tensor in googlenet.state_dict().items()}
    with torch.no_grad():
        main, aux_2, aux_1 = googlenet.train()(as_torchvision_feeds_it(pixels))
        said = ours.classify(pixels)
    googlenet.load_state_dict(before)  # training mode moved the batch norms
    torch.testing.assert_close(said.main, main, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(said.auxiliary[0], aux_1, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(said.auxiliary[1], aux_2, rtol=1e-3, atol=1e-4)


def test_googlenet_s_state_is_checked_before_anything_is_written(googlenet):
    state = googlenet.state_dict()
    plain = {name: tensor for name, tensor in state.items() if not name.startswith("aux")}
    ours = inception_v1_torchvision(classes=CLASSES, auxiliary=True)
    before = fingerprint(ours)
    with pytest.raises(ValueError, match=r"googlenet: aux1\.conv\.conv\.weight: missing"):
        from_torchvision_googlenet(plain, ours)
    with pytest.raises(ValueError, match=r"inception5b\.branch4\.1\.bn\.running_var: missing; 1 "):
        wrong = {n: t for n, t in state.items() if n != "inception5b.branch4.1.bn.running_var"}
        from_torchvision_googlenet(wrong, ours)
    with pytest.raises(ValueError, match=r"fc2\.weight: unknown"):
        from_torchvision_googlenet({**state, "fc2.weight": torch.zeros(1)}, ours)
    with pytest.raises(ValueError, match=r"fc\.weight: expected shape \(10, 1024\), got \(1,\)"):
        from_torchvision_googlenet({**state, "fc.weight": torch.zeros(1)}, ours)
    assert fingerprint(ours) == before
    from_torchvision_googlenet(plain, ours, allow_missing_heads=True)
    assert torch.equal(ours.classifier.weight, state["fc.weight"])


def test_the_count_of_batches_may_be_missing_as_in_old_files(googlenet):
    state = {n: t for n, t in googlenet.state_dict().items() if "num_batches_tracked" not in n}
    from_torchvision_googlenet(state, inception_v1_torchvision(classes=CLASSES))


@pytest.mark.parametrize("auxiliary", [False, True])
def test_inception_v3_s_state_gives_inception_v3_s_logits(auxiliary):
    theirs = models.Inception3(
        num_classes=CLASSES, transform_input=True, init_weights=False, dropout=0.0
    )
    stir(theirs).eval()
    ours = inception_v3(classes=CLASSES, auxiliary=auxiliary).eval()
    from_torchvision_inception_v3(theirs.state_dict(), ours)
    pixels = torch.rand(2, 3, 75, 75)
    with torch.no_grad():
        expected = theirs(as_torchvision_feeds_it(pixels))
        torch.testing.assert_close(ours.classify(pixels).main, expected, rtol=1e-4, atol=1e-4)
        if auxiliary:
            x = torch.rand(2, 768, 17, 17)
            torch.testing.assert_close(ours.body.AuxLogits(x), theirs.AuxLogits(x))
    check_told_apart(expected)


def test_inception_v3_without_its_head_is_missed_unless_told():
    theirs = models.Inception3(num_classes=CLASSES, init_weights=False, aux_logits=False)
    ours = inception_v3(classes=CLASSES, auxiliary=True)
    with pytest.raises(ValueError, match=r"inception_v3: AuxLogits\.conv0\.conv\.weight: missing"):
        from_torchvision_inception_v3(theirs.state_dict(), ours)
    from_torchvision_inception_v3(theirs.state_dict(), ours, allow_missing_heads=True)
    assert torch.equal(ours.classifier.weight, theirs.fc.weight)


def test_another_network_s_state_is_refused():
    state = TorchvisionFeatures("squeezenet1_0").body.state_dict()
    with pytest.raises(ValueError, match=r"squeezenet1_1: features\.5\.squeeze\.weight: unknown"):
        from_torchvision_features(state, TorchvisionFeatures("squeezenet1_1"))


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mobilenet_v3_small"])
def test_a_classifier_of_all_classes_takes_torchvision_s(name):
    whole = stir(models.get_model(name, weights=None)).eval()
    ours = TorchvisionFeatures(name, classes=1000).eval()
    from_torchvision_features(whole.state_dict(), ours)
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        theirs = whole(as_torchvision_feeds_it(pixels))
        torch.testing.assert_close(ours.classify(pixels).main, theirs, rtol=1e-4, atol=1e-4)
    check_told_apart(theirs)


@pytest.mark.parametrize(("name", "classes"), [("shufflenet_v2_x0_5", 7), ("squeezenet1_1", 1000)])
def test_a_classifier_that_is_not_torchvision_s_stays_as_it_is(name, classes):
    whole = stir(models.get_model(name, weights=None))
    ours = TorchvisionFeatures(name, classes=classes)
    before = ours.classifier.weight.clone()
    from_torchvision_features(whole.state_dict(), ours)
    assert torch.equal(ours.classifier.weight, before)
    first = next(iter(whole.state_dict()))
    assert torch.equal(ours.body.state_dict()[first], whole.state_dict()[first])


def test_a_state_without_its_last_layer_is_refused_by_a_classifier():
    state = dict(models.get_model("shufflenet_v2_x0_5", weights=None).state_dict())
    del state["fc.bias"]
    with pytest.raises(ValueError, match=r"shufflenet_v2_x0_5: fc\.bias: missing"):
        from_torchvision_features(state, TorchvisionFeatures("shufflenet_v2_x0_5", classes=1000))
    from_torchvision_features(state, TorchvisionFeatures("shufflenet_v2_x0_5"))


# torchvision's downloads


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of downloads, and no way out to fill it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # discard: nothing listens there
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr("urllib.request._opener", None)  # it remembers an earlier proxy
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def file_name(network):
    return models.get_model_weights(network).DEFAULT.url.rpartition("/")[2]


def old_densenet_names(state):
    """From when layers had other names (densenet.py) and batch norms did not count batches."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", name): tensor
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize(
    ("name", "renamed"), [("shufflenet_v2_x0_5", dict), ("densenet121", old_densenet_names)]
)
def test_a_downloaded_file_is_found_and_used(hub, name, renamed):
    whole = stir(models.get_model(name, weights=None)).eval()
    torch.save(renamed(whole.state_dict()), hub / file_name(name))
    ours = TorchvisionFeatures(name).eval()
    load_torchvision(ours)
    pixels = torch.rand(2, 3, 64, 64)
    last = whole.get_submodule(ours.last_layer)
    with torch.no_grad():
        theirs = whole(as_torchvision_feeds_it(pixels))
        torch.testing.assert_close(last(ours(pixels)), theirs, rtol=1e-4, atol=1e-4)
    check_told_apart(theirs)


@pytest.mark.parametrize(
    ("builder", "whole"),
    [
        (inception_v1_torchvision, models.GoogLeNet),
        (inception_v3, models.Inception3),
    ],
)
def test_ours_take_torchvision_s_published_file(hub, builder, whole):
    theirs = stir(whole(init_weights=False))
    name = whole.__name__.lower().replace("inception3", "inception_v3")
    torch.save(theirs.state_dict(), hub / file_name(name))
    ours = builder()
    load_torchvision(ours)
    assert torch.equal(ours.classifier.weight, theirs.fc.weight)


def test_without_a_network_one_sentence_says_what_could_not_be_fetched(hub):
    with pytest.raises(
        OSError, match="could not download torchvision's weights for googlenet"
    ) as e:
        fetch_torchvision("googlenet")
    message = str(e.value)
    assert "https://download.pytorch.org/models/googlenet-1378be20.pth" in message
    assert str(hub) in message
    assert "\n" not in message
    assert e.value.__cause__ is not None


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04 cut short"])
def test_a_damaged_download_is_named(hub, content):
    (hub / file_name("squeezenet1_1")).write_bytes(content)
    with pytest.raises(OSError, match=r"weights for squeezenet1_1 from https://.*\.pth"):
        fetch_torchvision("squeezenet1_1")


def bare_pickle(made, path):
    path.write_bytes(dumps(made, protocol=2))  # torch.load warns of others


class Hostile:
    """A pickle of it makes a folder when it is loaded."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("write", [torch.save, bare_pickle])
def test_a_file_that_runs_code_is_refused_before_it_does(hub, tmp_path, write):
    mark = tmp_path / "it ran"
    write({"features.0.weight": Hostile(mark)}, hub / file_name("squeezenet1_1"))
    with pytest.raises(OSError, match=r"squeezenet1_1 .* damaged or contains more"):
        fetch_torchvision("squeezenet1_1")
    assert not mark.exists()
    with contextlib.suppress(Exception):  # a bare pickle is no file of torch's
        torch.load(hub / file_name("squeezenet1_1"), weights_only=False)
    assert mark.exists()  # else the test shows nothing


def test_a_file_without_a_state_is_named(hub):
    torch.save([1, 2], hub / file_name("squeezenet1_1"))
    with pytest.raises(OSError, match="could not download torchvision's weights for squeezenet1_1"):
        fetch_torchvision("squeezenet1_1")


def test_stdout_stays_free_while_something_is_fetched(hub, capsys):
    with pytest.raises(OSError, match="could not fetch"):
        fetch_torchvision("squeezenet1_1")
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "Downloading" in stderr
