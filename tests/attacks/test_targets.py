"""Losses and confidences of models under attack, against the models' own inference."""

import math

import pytest
import torch

from tests.helpers.shapes import draw_shape
from tests.helpers.tiny_captioner import Tiny, captioner, decoder
from tests.helpers.tiny_labeller import WIDTH, labeller, units, wordnet, words
from vl.attacks.attack import Output
from vl.attacks.targets import TargetCaptioner, TargetLabeller
from vl.captioning.search import SearchSettings
from vl.data.captions.vocabulary import Vocabulary
from vl.data.words.label_space import LabelSpace
from vl.data.words.labels import Label
from vl.decoders.conse import Conse
from vl.training.adversarial import basic_iterative

LABELS = ["ball", "stop sign, okapi", "box", "nothing known", "giraffe"]
VIEWS = ("plain", "flip", "top-left")


def squares(count=4):
    return torch.stack([draw_shape(index, side=Tiny.image_size)[0] for index in range(count)])


def ensemble_labeller():
    """A labeller with a DeViSE and a ConSE projection."""
    model = labeller()
    conse = Conse(image_width=Tiny.width, width=WIDTH, num_labels=7, top_k=4)
    with torch.no_grad():
        conse.label_vectors.copy_(units(7, seed=9))
        torch.nn.init.normal_(conse.classifier.weight)
    model.projections = {"devise": model.projections["devise"], "conse": conse}
    return model


def target_labeller(*, stacking=False, csls=False, **options):
    model = labeller(**options)
    return TargetLabeller(model, model.candidates(LABELS, calibrated_stacking=stacking, csls=csls))


def target_captioner(**options):
    return TargetCaptioner(captioner(**options))


@pytest.mark.parametrize(
    "options", [{}, {"views": VIEWS}, {"stacking": True, "csls": True}], ids=str
)
def test_label_confidences_are_the_labellers(options):
    model = target_labeller(**options)
    answers = model.labeller(list(squares()), labels=model.candidates, top_k=len(LABELS))
    for output, answer in zip(model.predict(squares()), answers, strict=True):
        assert output == (answer.predictions[0].text, (answer.predictions[0].label_index,))
    for rank in range(len(LABELS) - 1):  # one has no vector
        labels = [answer.predictions[rank] for answer in answers]
        targets = [Output(label.text, (label.label_index,)) for label in labels]
        nlls = model.loss(targets)(squares()).tolist()
        confidences = model.confidence(squares(), targets)
        for confidence, label, nll in zip(confidences, labels, nlls, strict=True):
            assert confidence["cosine"] == pytest.approx(label.cosine, abs=1e-5)
            assert confidence["probability"] == pytest.approx(label.probability, abs=1e-5)
            assert nll == pytest.approx(-math.log(label.probability), abs=1e-4)


def test_only_seen_labels_have_their_own_temperature():
    model = labeller()
    target = TargetLabeller(model, model.candidates(["ball", "okapi, forest giraffe"]))
    assert bool(target.candidates.seen.all())
    answers = model(list(squares()), labels=target.candidates)
    confidences = target.confidence(squares(), target.predict(squares()))
    assert [confidence["probability"] for confidence in confidences] == pytest.approx(
        [answer.predictions[0].probability for answer in answers], abs=1e-5
    )


def test_ensemble_of_projections_has_the_labellers_cosines_and_gradients():
    model = ensemble_labeller()
    target = TargetLabeller(model, model.candidates(LABELS))
    answers = model(list(squares()), labels=target.candidates)
    confidences = target.confidence(squares(), target.predict(squares()))
    assert [confidence["cosine"] for confidence in confidences] == pytest.approx(
        [answer.predictions[0].cosine for answer in answers], abs=1e-5
    )
    loss = target.loss([target.target("ball")] * 4)
    adversarial = basic_iterative(squares(), loss, epsilon=0.01, steps=1)
    assert bool((adversarial != squares()).flatten(1).any(1).all())


def test_uncalibrated_labeller_has_no_probability_and_a_softmax_of_cosines():
    model = target_labeller(calibration=None)
    targets = [model.target(label) for label in ("ball", "okapi", "box", "giraffe")]
    confidences = [model.confidence(squares(1), [target])[0] for target in targets]
    assert all(confidence["probability"] is None for confidence in confidences)
    cosines = [confidence["cosine"] for confidence in confidences]
    nll = model.loss([targets[2]])(squares(1)).item()
    assert nll == pytest.approx(math.log(sum(map(math.exp, cosines))) - cosines[2], abs=1e-5)


def test_target_label_is_named_by_text_or_synonym():
    model = target_labeller()
    assert model.target(" Ball ") == ("ball", (0,))
    assert model.target("stop sign, okapi") == ("stop sign, okapi", (1,))
    assert model.target("OKAPI") == ("stop sign, okapi", (1,))


def test_refuses_unknown_ambiguous_and_vectorless_target_labels():
    model = target_labeller()
    with pytest.raises(ValueError, match="guitar"):
        model.target("guitar")
    with pytest.raises(ValueError, match="no word vector"):
        model.target("nothing known")
    ambiguous = labeller(LabelSpace(words(), wordnet=wordnet()))
    candidates = ambiguous.candidates([Label("ring", "n00000006"), Label("ring", "n00000007")])
    with pytest.raises(ValueError, match="2 labels"):
        TargetLabeller(ambiguous, candidates).target("ring")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"views": VIEWS},
        {"decoders": [decoder(seed) for seed in range(3)]},
        {
            "search": SearchSettings(num_beams=3, max_length=3)
        },  # truncated: without the end of the sentence
        {
            "search": SearchSettings(
                num_beams=4, max_length=9, min_length=4, no_repeat_ngram_size=1, length_penalty=1.0
            )
        },
    ],
    ids=range(5),
)
def test_caption_log_probs_are_the_searchs(options):
    model = target_captioner(**options)
    captions = model.captioner(list(squares()))
    outputs = model.predict(squares())
    assert [output.text for output in outputs] == [best.text for best, *_ in captions]
    assert len({len(output.ids) for output in outputs}) > 1 or len(outputs[0].ids) == 3
    confidences = model.confidence(squares(), outputs)
    assert [confidence["log_prob"] for confidence in confidences] == pytest.approx(
        [best.log_prob for best, *_ in captions], abs=1e-4
    )


def test_sentence_loss_is_teacher_forcings():
    model = target_captioner()
    target = model.target("A red ball, on the grass.")
    assert target.text == "a red ball on the grass"
    ids = torch.tensor([[Vocabulary.start, *target.ids]])
    vectors = model.embedder.encode(squares(1))[:, 0].clone()
    expected = model.captioner.decoders[0](vectors, ids, torch.tensor([ids.shape[1]])).total
    assert model.loss([target])(squares(1)).item() == pytest.approx(expected.item(), abs=1e-4)


def test_padding_does_not_change_the_loss():
    model = target_captioner()
    targets = [model.target(text) for text in ("ball", "a red ring on the sand", "a box")]
    batch = model.loss(targets)(squares(3)).tolist()
    single = [
        model.loss([target])(square[None]).item()
        for target, square in zip(targets, squares(3), strict=True)
    ]
    assert batch == pytest.approx(single, abs=1e-5)


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("a red zebra on a bike", "'zebra', 'bike'"),
        (" . ", "no words"),
        ("a a a a a a a a", "maximum is 8"),
    ],
)
def test_refuses_sentences_the_captioner_cannot_generate(sentence, message):
    with pytest.raises(ValueError, match=message):
        target_captioner().target(sentence)


def test_accepts_the_longest_sentence():
    assert len(target_captioner().target("a " * 7).ids) == 8


@pytest.mark.parametrize("target_model", [target_labeller, target_captioner])
@pytest.mark.parametrize("views", [("plain",), VIEWS])
def test_gradient_agrees_with_finite_differences(target_model, views):
    """Along a random direction, in double, through the views and the whole model."""
    model = target_model(views=views)
    model.embedder.encoder.double()
    labels = isinstance(model, TargetLabeller)
    for module in model.labeller.projections.values() if labels else model.captioner.decoders:
        module.double()
    loss = model.loss([model.target("giraffe" if labels else "a red ball")])
    pixels = (squares(1).double() * 0.9 + 0.05).requires_grad_()
    generator = torch.Generator().manual_seed(5)
    direction = torch.randn(pixels.shape, dtype=torch.double, generator=generator)
    (gradient,) = torch.autograd.grad(loss(pixels).sum(), pixels)
    with torch.no_grad():
        difference = loss(pixels + 1e-6 * direction) - loss(pixels - 1e-6 * direction)
    assert difference.item() / 2e-6 == pytest.approx((gradient * direction).sum().item(), rel=1e-4)


@pytest.mark.parametrize("target_model", [target_labeller, target_captioner])
def test_batch_size_does_not_change_adversarial_pixels(target_model):
    model = target_model()
    targets = model.predict(squares())
    batch = basic_iterative(squares(), model.loss(targets), epsilon=0.05, steps=3)
    for pixels, target, expected in zip(squares(), targets, batch, strict=True):
        single = basic_iterative(pixels[None], model.loss([target]), epsilon=0.05, steps=3)
        # Sums in another order can change the sign of a gradient near 0.
        assert float((single[0] != expected).float().mean()) < 0.01


@pytest.mark.parametrize(
    ("target_model", "text"), [(target_labeller, "ball"), (target_captioner, "box")]
)
def test_targeted_attack_reaches_its_target(target_model, text):
    model = target_model()
    target = model.target(text)
    pixels = squares()[1::2]
    assert all(output.text != text for output in model.predict(pixels))
    adversarial = basic_iterative(
        pixels, model.loss([target] * 2), epsilon=0.5, steps=30, targeted=True
    )
    assert model.predict(adversarial) == [target] * 2
