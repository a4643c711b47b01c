"""Photographs to sentences: no batch changes one, files come back, ensembles vote, parts agree."""

import math
from pathlib import Path

import pytest
import torch

import vl
from tests.helpers.tiny_captioner import WORDS, Tiny, alter, captioner, decoder, drawings, encoder
from vl.captioning.captioner import Captioner
from vl.captioning.search import SearchSettings
from vl.data.captions.vocabulary import Vocabulary
from vl.data.errors import FormatError
from vl.data.images.decode import decode
from vl.decoders.beam_search import beam_search
from vl.encoders.table import ENCODERS
from vl.labelling.labeller import Answer, Labeller, Prediction


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


def test_the_public_names_are_these():
    assert vl.Captioner is Captioner
    assert vl.SearchSettings is SearchSettings
    assert vl.Labeller is Labeller
    assert vl.Prediction is Prediction
    assert vl.Answer is Answer
    assert set(vl.__all__) == {
        *("Answer", "Caption", "Captioner", "Labeller", "Prediction", "SearchSettings"),
        "__version__",
    }


@pytest.mark.parametrize("views", [("plain",), ("plain", "flip", "top-left")])
def test_the_batch_changes_no_caption(tmp_path, views):
    paths = drawings(tmp_path, 9)
    made = captioner(views=views)
    alone = made(paths, batch_size=1, n_best=3)
    assert len({captions[0].text for captions in alone}) > 1  # else the test shows nothing
    for size in (4, 9, 100):
        together = made(paths, batch_size=size, n_best=3)
        for one, other in zip(alone, together, strict=True):
            assert [each.text for each in one] == [each.text for each in other]
            assert [each.log_prob for each in one] == pytest.approx(
                [each.log_prob for each in other], abs=1e-5
            )


def test_a_caption_is_what_the_search_finds_for_the_mean_of_the_views(tmp_path):
    (path,) = drawings(tmp_path, 1)
    made = captioner(views=("plain", "flip"))
    square = made.embedder.preprocess(path)[None]
    with torch.no_grad():
        vector = (made.embedder.encoder(square) + made.embedder.encoder(square.flip(-1))) / 2

    def step(words, state):  # without <s> and <unk>
        log_probs, state = made.decoders[0].step(words, state)
        log_probs[:, [0, 2]] = -torch.inf
        return log_probs, state

    with torch.no_grad():
        (by_hand,) = beam_search(
            step, made.decoders[0].start(vector), start=0, end=1, num_beams=3, max_length=8
        )
    (found,) = made([path], n_best=3)
    assert [each.text for each in found] == [
        " ".join(WORDS[word - 3] for word in each.words) for each in by_hand
    ]
    assert [each.log_prob for each in found] == pytest.approx(
        [each.log_prob for each in by_hand], abs=1e-5
    )
    assert [each.ended for each in found] == [each.ended for each in by_hand]


def test_paths_and_pixels_and_strings_give_the_same(tmp_path):
    paths = drawings(tmp_path, 3)
    made = captioner()
    expected = made(paths)
    assert made([decode(path) for path in paths]) == expected
    assert made([str(path) for path in paths]) == expected
    assert made([]) == []


def test_pixels_of_whole_numbers_are_refused():
    pixels = torch.full((3, 20, 20), 200, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"divide by 255"):
        captioner()([pixels])


def test_the_n_best_are_sorted_and_differ(tmp_path):
    paths = drawings(tmp_path, 5)
    for captions in captioner()(paths, search=SearchSettings(num_beams=6, max_length=5), n_best=6):
        assert len(captions) == 6
        assert len({each.text for each in captions}) == 6
        for ended in (True, False):
            scores = [each.log_prob for each in captions if each.ended is ended]
            assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("n_best", [0, -1, 4])
def test_more_than_the_beam_finds_is_refused(tmp_path, n_best):
    made = captioner()
    message = f"n_best is {n_best}"
    with pytest.raises(ValueError, match=message):
        made(drawings(tmp_path, 1), n_best=n_best)
    with pytest.raises(ValueError, match=message):
        made.describe(torch.zeros(1, 12), n_best=n_best)
    with pytest.raises(ValueError, match="batch size is 0"):
        made(drawings(tmp_path, 1), batch_size=0)


def test_start_and_unknown_are_never_said():
    """Even by a decoder that wants nothing else."""
    eager = decoder()
    with torch.no_grad():
        eager.output.bias[[0, 2]] += 100
    made = captioner(decoders=[eager])
    for found in made.hypotheses(torch.randn(8, 12), n_best=3):
        assert len(found) == 3
        for each in found:
            assert not {0, 2} & set(each.words)


def test_search_settings_reach_the_search():
    made, vectors = captioner(), torch.randn(6, 12)
    long = made.hypotheses(vectors, search=SearchSettings(num_beams=2, max_length=9, min_length=6))
    assert all(len(found[0].words) >= 6 for found in long)
    fresh = made.hypotheses(
        vectors, search=SearchSettings(num_beams=2, max_length=9, no_repeat_ngram_size=1)
    )
    assert all(len(set(found[0].words)) == len(found[0].words) for found in fresh)


def test_captions_are_compared_by_length_as_the_search_says():
    made, vectors = captioner(), torch.randn(20, 12)
    orders = []
    for power in (0.0, 1.0):
        search = SearchSettings(num_beams=4, max_length=6, length_penalty=power)
        hypotheses = made.hypotheses(vectors, search=search, n_best=4)
        for found in hypotheses:
            scores = [
                each.log_prob / (len(each.words) + 1) ** power for each in found if each.ended
            ]
            assert scores == sorted(scores, reverse=True)
        orders.append([each.words for found in hypotheses for each in found])
    assert orders[0] != orders[1]


def test_two_decoders_vote_by_the_mean_of_their_probabilities():
    parts = [decoder(1), decoder(2)]
    made = captioner(decoders=parts)
    vectors = torch.randn(4, 12)
    for row, (best, *_) in enumerate(made.hypotheses(vectors)):
        states = [part.start(vectors[row : row + 1]) for part in parts]
        log_prob, said = 0.0, 0
        for word in [*best.words, *([1] if best.ended else [])]:
            probability = 0.0
            for index, part in enumerate(parts):
                log_probs, states[index] = part.step(torch.tensor([said]), states[index])
                probability += log_probs[0, word].exp().item() / 2
            log_prob += torch.tensor(probability).log().item()
            said = word
        assert best.log_prob == pytest.approx(log_prob, abs=1e-4)


def test_a_saved_captioner_says_the_same(tmp_path):
    path = tmp_path / "made.safetensors"
    made = captioner(
        views=("plain", "flip"),
        resize="center-crop",
        search=SearchSettings(
            num_beams=4, max_length=7, length_penalty=0.5, min_length=1, no_repeat_ngram_size=2
        ),
        training={"images": 3},
    )
    made.save(path)
    loaded = Captioner.load(path)
    images = [decode(each) for each in drawings(tmp_path / "photos", 4)]
    assert loaded(images, n_best=4) == made(images, n_best=4)
    assert (loaded.embedder.views, loaded.embedder.resize, loaded.search) == (
        made.embedder.views,
        made.embedder.resize,
        made.search,
    )
    assert (loaded.training, loaded.embedder.encoder_name) == ({"images": 3}, "tiny")
    assert not any(part.training for part in (loaded.embedder.encoder, *loaded.decoders))
    first = path.read_bytes()
    loaded.save(path)
    assert path.read_bytes() == first


def test_a_saved_ensemble_is_the_files_that_voted(tmp_path):
    one, other, both = (tmp_path / f"{name}.safetensors" for name in ("one", "other", "both"))
    captioner(1, training={"run": 1}).save(one)
    captioner(2, training={"run": 2}).save(other)
    voting = Captioner.load(one, other)
    vectors = torch.randn(5, 12)
    assert voting.describe(vectors) == captioner(decoders=[decoder(1), decoder(2)]).describe(
        vectors
    )
    voting.save(both)
    loaded = Captioner.load(both)
    assert len(loaded.decoders) == 2
    assert loaded.describe(vectors) == voting.describe(vectors)
    assert loaded.training == {"members": [{"run": 1}, {"run": 2}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"vocabulary": Vocabulary([*WORDS, "more"]), "decoders": [decoder(words=15)]},
            r"other\.safetensors has another vocabulary \(15 words\) than .*one\.safe.* \(14 words",
        ),
        ({"encoder": encoder(1)}, "has another encoder than .*they cannot vote"),
        ({"views": ("flip",)}, "was trained on other views or resize"),
        ({"resize": "center-crop"}, "was trained on other views or resize"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path, changes, message):
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    captioner().save(one)
    captioner(**changes).save(other)
    with pytest.raises(ValueError, match=message):
        Captioner.load(one, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoders": []}, "at least one decoder"),
        (
            {"vocabulary": Vocabulary(WORDS[:-1])},
            "the decoder says 14 words, the vocabulary has 13",
        ),
        ({"decoders": [decoder(width=9)]}, "encoder gives width 12, the decoder expects 9"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        captioner(**changes)


def put(**settings):
    return lambda configuration, tensors: configuration.update(settings)


def decoders_with(**settings):
    return lambda configuration, tensors: configuration["decoders"][0].update(settings)


def search_with(**settings):
    return lambda configuration, tensors: configuration["search"].update(settings)


HOSTILE = [
    (lambda c, t: c["vocabulary"].append("more"), "says 14 words, the vocabulary has 15"),
    (lambda c, t: c["vocabulary"].append("two words"), "vocabulary is wrong: 'two words' is not"),
    (put(vocabulary=[1, 2]), "the vocabulary is not a list of strings"),
    (put(vocabulary="a b"), "configuration 'vocabulary': expected list, it is of type str"),
    (lambda c, t: c.pop("vocabulary"), "configuration 'vocabulary': expected list, it is missing"),
    (lambda c, t: t["encoder.mean"].add_(0.1), "encoder's weights are not those it was made with"),
    (put(decoders=[]), r"tensor decoder\.0\..*: not a part of this model"),
    (put(decoders={}), "configuration 'decoders': expected list"),
    (put(decoders=[["hidden", 8]]), "decoder.0: cannot be built: its configuration is of type"),
    (decoders_with(image_width=13), r"decoder\.0\.\w+(\.\w+)?: expected float32 of shape"),
    (decoders_with(vocabulary_size=15), r"decoder\.0\..*: expected float32 of shape \(15"),
    (decoders_with(hidden_size=10**5), r"decoder\.0\..*: expected float32 of shape \(.*00000"),
    (decoders_with(hidden_size=10**9), "decoder.0: cannot be built"),
    (decoders_with(hidden_size=10**30), "decoder.0: cannot be built"),
    (decoders_with(hidden_size="8"), "decoder.0: cannot be built"),
    (decoders_with(embedding_size=-8), "decoder.0: cannot be built"),
    (decoders_with(cell="golden"), "decoder.0: cannot be built: cell is 'golden'"),
    (decoders_with(dropout=2), "decoder.0: cannot be built: dropout"),
    (decoders_with(layers=2), "decoder.0: cannot be built: .*'layers'"),
    (lambda c, t: c["decoders"].append(c["decoders"][0]), r"decoder\.1\..*: missing"),
    (lambda c, t: t.update({"decoder.1.x": torch.zeros(1)}), r"decoder\.1\.x: not a part of this"),
    (
        lambda c, t: t["decoder.0.word_embedding.weight"].fill_(torch.nan),
        "a number in it is not finite",
    ),
    (put(embedder=[]), "configuration 'embedder': expected dict, it is of type list"),
    (put(training=[]), "configuration 'training': expected dict, it is of type list"),
    (put(search=[3]), "configuration 'search': expected dict, it is of type list"),
    (search_with(num_beams=0), "num_beams is 0"),
    *((search_with(num_beams=value), "num_beams") for value in ("3", 3.0, True, None, 10**9)),
    (search_with(max_length=10**9), "max_length"),
    *((search_with(length_penalty=value), "length_penalty") for value in (10**9, math.nan, "1")),
    (search_with(min_length=-1), "min_length"),
    (search_with(min_length=8), "min_length is 8; it must be below max_length"),
    (search_with(no_repeat_ngram_size=-1), "no_repeat_ngram_size"),
    (search_with(rank_by="consensus"), "rank_by"),
    (search_with(temperature=2), "configuration 'search': this version does not know temperature"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE)
def test_a_file_whose_parts_disagree_or_lie_is_refused(tmp_path, change, message):
    path = tmp_path / "made.safetensors"
    captioner().save(path)
    alter(path, change)
    with pytest.raises(FormatError, match=message) as caught:
        Captioner.load(path)
    assert str(path) in str(caught.value)


def test_another_kind_of_file_is_refused(tmp_path):
    path = tmp_path / "made.safetensors"
    captioner().save(path)
    alter(path, put(kind="labeller"))
    with pytest.raises(FormatError, match="a bundle of kind 'labeller', not 'captioner'"):
        Captioner.load(path)
    captioner().save(path)
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        Captioner.load(path, tmp_path / "none.safetensors")


def test_a_file_that_is_no_photograph_is_an_error_with_its_name(tmp_path):
    (good,) = drawings(tmp_path, 1)
    bad = tmp_path / "bad.png"
    bad.write_text("no photograph")
    with pytest.raises(FormatError, match=r"bad\.png"):
        captioner()([good, bad])
    with pytest.raises(FileNotFoundError):
        captioner()([Path("nowhere.png")])
