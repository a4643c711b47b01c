"""Images to captions: invariance to the batch, ensembles, and files that are refused."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vl
from tests.helpers.tiny_captioner import (
    WORDS,
    Tiny,
    alter,
    captioner,
    decoder,
    drawings,
    encoder,
)
from vl.captioning.captioner import Captioner
from vl.captioning.search import SearchSettings
from vl.data.captions.vocabulary import Vocabulary
from vl.data.errors import FormatError
from vl.data.images.decode import decode
from vl.decoders.beam_search import beam_search
from vl.encoders.table import ENCODERS


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


def texts_of(batch):
    return [[caption.text for caption in captions] for captions in batch]


def assert_same_captions(batch, expected):
    assert texts_of(batch) == texts_of(expected)
    for captions, others in zip(batch, expected, strict=True):
        assert [caption.log_prob for caption in captions] == pytest.approx(
            [caption.log_prob for caption in others], abs=1e-5
        )


def test_public_names():
    assert vl.Captioner is Captioner
    assert vl.SearchSettings is SearchSettings


@pytest.mark.parametrize("views", [("plain",), ("plain", "flip", "top-left")])
def test_batch_size_changes_no_caption(tmp_path, views):
    paths = drawings(tmp_path, 9)
    model = captioner(views=views)
    alone = model(paths, batch_size=1, n_best=3)
    assert len({captions[0].text for captions in alone}) > 1  # else the test is vacuous
    for size in (4, 9, 100):
        assert_same_captions(model(paths, batch_size=size, n_best=3), alone)


def test_captions_are_those_of_the_search_for_the_mean_of_the_views(tmp_path):
    (path,) = drawings(tmp_path, 1)
    model = captioner(views=("plain", "flip"))
    square = model.embedder.preprocess(decode(path))[None]
    with torch.no_grad():
        vector = (encoder()(square) + encoder()(square.flip(-1))) / 2

    def step(words, state):  # without <s> and <unk>
        log_probs, state = decoder().step(words, state)
        log_probs[:, [0, 2]] = -torch.inf
        return log_probs, state

    with torch.no_grad():
        (expected,) = beam_search(
            step, decoder().start(vector), start=0, end=1, num_beams=3, max_length=8
        )
    (captions,) = model([path], n_best=3)
    assert [caption.text for caption in captions] == [
        " ".join(WORDS[word - 3] for word in hypothesis.words) for hypothesis in expected
    ]
    assert [caption.log_prob for caption in captions] == pytest.approx(
        [hypothesis.log_prob for hypothesis in expected], abs=1e-5
    )
    assert [caption.ended for caption in captions] == [h.ended for h in expected]


def test_images_of_any_kind(tmp_path):
    paths = drawings(tmp_path, 3)
    model = captioner()
    expected = model(paths)
    pillow = [Image.open(io.BytesIO(path.read_bytes())) for path in paths]
    assert model([str(path) for path in paths]) == expected
    assert model([path.read_bytes() for path in paths]) == expected
    assert model([decode(path) for path in paths]) == expected
    assert model(pillow) == expected
    assert model([np.asarray(image.convert("RGB")) for image in pillow]) == expected
    assert model([]) == []


def test_refuses_what_is_no_image(tmp_path):
    (good,) = drawings(tmp_path, 1)
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    with pytest.raises(FormatError, match=r"bad\.png"):
        captioner()([good, bad])
    with pytest.raises(FileNotFoundError):
        captioner()([Path("missing.png")])
    with pytest.raises(ValueError, match="255"):
        captioner()([torch.full((3, 20, 20), 200, dtype=torch.uint8)])


@pytest.mark.parametrize("n_best", [0, -1, 4])
def test_refuses_counts_out_of_range(tmp_path, n_best):
    with pytest.raises(ValueError, match="n_best"):
        captioner()(drawings(tmp_path, 1), n_best=n_best)
    with pytest.raises(ValueError, match="n_best"):
        captioner().describe(torch.zeros(1, 12), n_best=n_best)
    with pytest.raises(ValueError, match="batch_size"):
        captioner()(drawings(tmp_path, 1), batch_size=min(n_best, 0), n_best=1)


def test_start_and_unknown_are_never_generated():
    biased = decoder()
    with torch.no_grad():
        biased.output.bias[[0, 2]] += 100
    for hypotheses in captioner(decoders=[biased]).hypotheses(torch.randn(8, 12)):
        assert len(hypotheses) == 3
        assert not any({0, 2} & set(hypothesis.words) for hypothesis in hypotheses)


def test_search_settings_reach_the_search():
    model, vectors = captioner(), torch.randn(6, 12)
    long = model.hypotheses(vectors, search=SearchSettings(max_length=9, min_length=6))
    assert all(len(best.words) >= 6 for best, *_ in long)
    search = SearchSettings(max_length=9, no_repeat_ngram_size=1)
    for best, *_ in model.hypotheses(vectors, search=search):
        assert len(set(best.words)) == len(best.words)
    by_risk = model.hypotheses(vectors, search=SearchSettings(rank_by="minimum-bayes-risk"))
    by_log_prob = model.hypotheses(vectors, search=SearchSettings())
    assert by_risk != by_log_prob
    by_mean = model.hypotheses(vectors, search=SearchSettings(length_penalty=1.0))
    assert by_mean != by_log_prob
    assert [set(hypotheses) for hypotheses in by_risk] == [set(h) for h in by_log_prob]


def test_several_decoders_are_an_ensemble():
    vectors, members = torch.randn(4, 12), [decoder(1), decoder(2)]
    alone = [captioner(decoders=[member]).describe(vectors) for member in members]
    assert captioner(decoders=members).describe(vectors) not in alone
    for same in members:
        expected = captioner(decoders=[same]).describe(vectors)
        assert_same_captions(captioner(decoders=[same, same]).describe(vectors), expected)


def test_saved_captioner_gives_the_same_captions(tmp_path):
    path = tmp_path / "captioner.safetensors"
    model = captioner(
        views=("plain", "flip"),
        resize="center-crop",
        search=SearchSettings(
            num_beams=4, max_length=7, length_penalty=0.5, min_length=1, no_repeat_ngram_size=2
        ),
        training={"images": 3},
    )
    model.save(path)
    loaded = Captioner.load(path)
    images = [decode(image) for image in drawings(tmp_path / "images", 4)]
    assert loaded(images, n_best=4) == model(images, n_best=4)
    assert loaded.embedder.config() == model.embedder.config()
    assert (loaded.search, loaded.training) == (model.search, {"images": 3})
    assert not any(module.training for module in (loaded.embedder.encoder, *loaded.decoders))
    content = path.read_bytes()
    loaded.save(path)
    assert path.read_bytes() == content


def test_saved_ensemble_is_that_of_its_files(tmp_path):
    first, second, both = (tmp_path / f"{name}.safetensors" for name in ("a", "b", "both"))
    captioner(1, training={"run": 1}).save(first)
    captioner(2, training={"run": 2}).save(second)
    ensemble = Captioner.load(first, second)
    vectors = torch.randn(5, 12)
    expected = captioner(decoders=[decoder(1), decoder(2)]).describe(vectors)
    assert ensemble.describe(vectors) == expected
    ensemble.save(both)
    loaded = Captioner.load(both)
    assert loaded.describe(vectors) == expected
    assert loaded.training == {"members": [{"run": 1}, {"run": 2}]}


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        (
            {"vocabulary": Vocabulary([*WORDS, "more"]), "decoders": [decoder(words=15)]},
            "vocabulary",
        ),
        ({"encoder": encoder(1)}, "encoder"),
        ({"views": ("flip",)}, "views"),
        ({"resize": "center-crop"}, "resize"),
    ],
)
def test_ensemble_refuses_files_that_do_not_match(tmp_path, changes, part):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    captioner().save(first)
    captioner(**changes).save(second)
    with pytest.raises(ValueError, match=rf"second\.safetensors has another .*{part}.* than"):
        Captioner.load(first, second)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary": Vocabulary(WORDS[:-1])}, "decoder has 14 words, the vocabulary 13"),
        ({"decoders": [decoder(width=9)]}, "width 12, the decoder expects 9"),
    ],
)
def test_refuses_parts_that_do_not_match(changes, message):
    with pytest.raises(ValueError, match=message):
        captioner(**changes)


def put(**settings):
    return lambda config, tensors: config.update(settings)


def put_embedder(**settings):
    return lambda config, tensors: config["embedder"].update(settings)


def put_encoder(**settings):
    return lambda config, tensors: config["embedder"]["encoder"].update(settings)


def put_decoder(**settings):
    return lambda config, tensors: config["decoders"][0].update(settings)


def put_search(**settings):
    return lambda config, tensors: config["search"].update(settings)


HOSTILE = [
    (lambda c, t: c["vocabulary"].append("more"), "14 words, the vocabulary 15"),
    (lambda c, t: c["vocabulary"].append("two words"), "two words"),
    (put(vocabulary=[1, 2]), "vocabulary"),
    (put(vocabulary="a b"), "vocabulary"),
    (lambda c, t: c.pop("vocabulary"), "missing: vocabulary"),
    (put(temperature=1), "unknown: temperature"),
    (put_encoder(name="resnet9000"), "resnet9000"),
    (put_encoder(fingerprint="0" * 16), "weights"),
    (lambda c, t: t["encoder.mean"].add_(0.1), "weights"),
    (put_embedder(views=["plain", "sideways"]), "sideways"),
    (put_embedder(resize="stretch"), "stretch"),
    (put(embedder=3), "embedder"),
    (put(decoders=[]), r"decoder\.0"),
    (put(decoders={}), "decoders"),
    (put(decoders=[["hidden_size", 8]]), "decoders"),
    (put_decoder(image_width=13), r"decoder\.0\.\w+(\.\w+)?: expected float32 of shape"),
    (put_decoder(vocabulary_size=15), r"decoder\.0\..*: expected float32 of shape \(15"),
    (put_decoder(hidden_size=10**5), r"decoder\.0\..*: expected float32 of shape \(.*00000"),
    *(
        (put_decoder(**setting), r"decoder\.0: cannot be built")
        for setting in (
            *({"hidden_size": 10**9}, {"hidden_size": 10**30}, {"hidden_size": "8"}),
            *({"embedding_size": -8}, {"cell": "golden"}, {"dropout": 2}, {"layers": 2}),
        )
    ),
    (lambda c, t: c["decoders"].append(c["decoders"][0]), r"decoder\.1\..*: missing"),
    (lambda c, t: t.update({"decoder.1.x": torch.zeros(1)}), r"decoder\.1\.x: not a part"),
    (lambda c, t: t["decoder.0.word_embedding.weight"].fill_(torch.nan), "not finite"),
    (put(training=[]), "training"),
    (put(search=[3]), "search"),
    *((put_search(num_beams=value), "num_beams") for value in (0, "3", 3.0, True, None, 10**9)),
    (put_search(max_length=10**9), "max_length"),
    *((put_search(length_penalty=value), "length_penalty") for value in (10**9, math.nan, "1")),
    *((put_search(min_length=value), "min_length") for value in (-1, 8)),
    (put_search(no_repeat_ngram_size=-1), "no_repeat_ngram_size"),
    (put_search(rank_by="consensus"), "rank_by"),
    (put_search(temperature=2), "unknown: temperature"),
    (put(kind="labeller"), "labeller"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE)
def test_refuses_files_whose_parts_do_not_match(tmp_path, change, message):
    path = tmp_path / "captioner.safetensors"
    captioner().save(path)
    alter(path, change)
    with pytest.raises(FormatError, match=message) as caught:
        Captioner.load(path)
    assert str(path) in str(caught.value)


def test_refuses_a_missing_file(tmp_path):
    path = tmp_path / "captioner.safetensors"
    captioner().save(path)
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        Captioner.load(path, tmp_path / "none.safetensors")
