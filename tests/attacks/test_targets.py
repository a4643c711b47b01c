"""A labeller and a captioner under attack: their own numbers, with gradients."""

import math

import pytest
import torch

from tests.helpers.tiny_captioner import Tiny, captioner, decoder
from tests.helpers.tiny_labeller import WIDTH, labeller, units, wordnet, words
from vl.attacks.targets import AttackedCaptioner, AttackedLabeller
from vl.captioning.search import Search
from vl.data.captions.vocabulary import Vocabulary
from vl.data.scenes import draw
from vl.data.words.label_space import LabelSpace
from vl.decoders.conse import Conse
from vl.training.adversarial import basic_iterative

LABELS = ["ball", "stop sign, okapi", "box", "nothing known", "giraffe"]
VIEWS = ("plain", "flip", "top-left")


def squares(count=4):
    return torch.stack([draw(number, side=Tiny.image_size)[0] for number in range(count)])


def mixed():
    """A labeller of two projections, one of them a mix of known labels."""
    made = labeller()
    conse = Conse(image_width=Tiny.width, width=WIDTH, num_labels=7, top_k=4)
    with torch.no_grad():
        conse.label_vectors.copy_(units(7, seed=9))
        conse.label_vectors[3] = math.nan
        torch.nn.init.normal_(conse.classifier.weight)
    return labeller(), {"devise": made.projections["devise"], "conse": conse}


def labelled(*, views=("plain",), **choices):
    made = labeller(views=views, **{k: v for k, v in choices.items() if k == "calibration"})
    asked = {k: v for k, v in choices.items() if k != "calibration"}
    return AttackedLabeller(made, made.candidates(LABELS, **asked))


def described(**choices):
    return AttackedCaptioner(captioner(**choices))


@pytest.mark.parametrize(
    "choices", [{}, {"views": VIEWS}, {"stacking": True, "csls": True}], ids=str
)
def test_the_figures_are_those_the_labeller_gives(choices):
    model = labelled(**choices)
    answers = model.labeller(list(squares()), labels=model.candidates, top=len(LABELS))
    for said, answer in zip(model.says(squares()), answers, strict=True):
        assert (said.text, said.goal) == (answer.labels[0].text, (answer.labels[0].number,))
    for place in range(len(LABELS) - 1):  # one has no vector
        goals = [(answer.labels[place].number,) for answer in answers]
        costs = model.loss(goals)(squares()).tolist()
        for figures, answer, cost in zip(
            model.figures(squares(), goals), answers, costs, strict=True
        ):
            label = answer.labels[place]
            assert figures["cosine"] == pytest.approx(label.cosine, abs=1e-5)
            assert figures["probability"] == pytest.approx(label.probability, abs=1e-5)
            assert cost == pytest.approx(-math.log(label.probability), abs=1e-4)


def test_labels_that_were_all_trained_on_have_the_labellers_own_temperature():
    made = labeller()
    model = AttackedLabeller(made, made.candidates(["ball", "okapi, forest giraffe"]))
    assert bool(model.candidates.seen.all())
    answers = made(list(squares()), labels=model.candidates)
    figures = model.figures(squares(), [each.goal for each in model.says(squares())])
    assert [each["probability"] for each in figures] == pytest.approx(
        [answer.labels[0].probability for answer in answers], abs=1e-5
    )


def test_two_projections_vote_as_they_do_for_people():
    made, projections = mixed()
    made.projections = projections
    model = AttackedLabeller(made, made.candidates(LABELS))
    answers = made(list(squares()), labels=model.candidates)
    figures = model.figures(squares(), [(each.labels[0].number,) for each in answers])
    assert [each["cosine"] for each in figures] == pytest.approx(
        [answer.labels[0].cosine for answer in answers], abs=1e-5
    )
    changed = basic_iterative(squares(), model.loss([(0,)] * 4), epsilon=0.01, steps=1)
    assert bool((changed != squares()).flatten(1).any(1).all())  # a gradient goes through both


def test_without_calibration_there_is_no_probability_and_the_softmax_is_of_cosines():
    model = labelled(calibration=None)
    cosines = []
    for number in (0, 1, 2, 4):
        figures = model.figures(squares(1), [(number,)])[0]
        assert figures["probability"] is None
        cosines.append(figures["cosine"])
    cost = model.loss([(2,)])(squares(1)).item()
    expected = math.log(sum(map(math.exp, cosines))) - cosines[2]
    assert cost == pytest.approx(expected, abs=1e-5)


def test_a_label_is_wanted_by_its_text_or_a_synonym():
    model = labelled()
    assert model.wanted(" Ball ") == ("ball", (0,))
    assert model.wanted("stop sign, okapi") == ("stop sign, okapi", (1,))
    assert model.wanted("OKAPI") == ("stop sign, okapi", (1,))


def test_a_label_that_cannot_be_wanted_is_refused():
    model = labelled()
    with pytest.raises(ValueError, match="'guitar' is not among the 5 labels"):
        model.wanted("guitar")
    with pytest.raises(ValueError, match="the label 'nothing known' has no vector"):
        model.wanted("nothing known")
    made = labeller(LabelSpace(words(), wordnet=wordnet()))
    twice = made.candidates(["ring", "ring"], ["n00000006", "n00000007"])
    with pytest.raises(ValueError, match="'ring' is 2 of the labels; it must be one"):
        AttackedLabeller(made, twice).wanted("ring")


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"views": VIEWS},
        {"decoders": 3},
        {"search": Search(beam=3, max_length=3)},  # cut off: no end word counts
        {"search": Search(beam=4, max_length=9, min_length=4, block_ngram=1, length_power=1.0)},
    ],
    ids=str,
)
def test_what_a_caption_costs_is_what_the_search_says(choices):
    if "decoders" in choices:
        choices = {"decoders": [decoder(seed) for seed in range(3)]}
    model = described(**choices)
    captions = model.captioner(list(squares()))
    said = model.says(squares())
    assert [each.text for each in said] == [found[0].text for found in captions]
    assert len({len(each.goal) for each in said}) > 1 or len(said[0].goal) == 3
    figures = model.figures(squares(), [each.goal for each in said])
    assert [each["log_prob"] for each in figures] == pytest.approx(
        [found[0].log_prob for found in captions], abs=1e-4
    )


def test_a_sentence_costs_what_teacher_forcing_says():
    model = described()
    wanted = model.wanted("A red ball, on the grass.")
    assert wanted.text == "a red ball on the grass"
    ids = torch.tensor([[Vocabulary.start, *wanted.goal]])
    vectors = model.embedder(squares(1))[:, 0].clone()
    expected = model.captioner.decoders[0](vectors, ids, torch.tensor([ids.shape[1]])).total
    cost = model.loss([wanted.goal])(squares(1))
    assert cost.item() == pytest.approx(expected.item(), abs=1e-4)


def test_sentences_of_different_lengths_do_not_disturb_each_other():
    model = described()
    goals = [model.wanted(text).goal for text in ("ball", "a red ring on the sand", "a box")]
    together = model.loss(goals)(squares(3)).tolist()
    alone = [
        model.loss([goal])(square[None]).item()
        for goal, square in zip(goals, squares(3), strict=True)
    ]
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("a red zebra on a bike", "vocabulary has no 'zebra', 'bike', so it can never say"),
        (" . ", "there is no word in the sentence"),
        ("a a a a a a a a", "the sentence has 9 words, the end counted; captions have at most 8"),
    ],
)
def test_a_sentence_that_can_never_be_said_is_refused(sentence, message):
    with pytest.raises(ValueError, match=message):
        described().wanted(sentence)


def test_the_longest_sentence_is_taken():
    assert len(described().wanted("a " * 7).goal) == 8


@pytest.mark.parametrize("kind", [labelled, described])
@pytest.mark.parametrize("views", [("plain",), VIEWS])
def test_a_loss_has_the_slope_that_differences_give(kind, views):
    """Along a random direction, in double; views and the whole model lie between."""
    model = kind(views=views)
    model.embedder.encoder.double()
    parts = model.labeller.projections.values() if kind is labelled else model.captioner.decoders
    for part in parts:
        part.double()
    goal = model.wanted("giraffe" if kind is labelled else "a red ball").goal
    pixels = (squares(1).double() * 0.9 + 0.05).requires_grad_()
    generator = torch.Generator().manual_seed(5)
    direction = torch.randn(pixels.shape, dtype=torch.double, generator=generator)
    loss = model.loss([goal])
    (slope,) = torch.autograd.grad(loss(pixels).sum(), pixels)
    with torch.no_grad():
        difference = loss(pixels + 1e-6 * direction) - loss(pixels - 1e-6 * direction)
    assert difference.item() / 2e-6 == pytest.approx((slope * direction).sum().item(), rel=1e-4)


@pytest.mark.parametrize("kind", [labelled, described])
def test_the_batch_changes_no_attacked_pixel(kind):
    model = kind()
    goals = [each.goal for each in model.says(squares())]
    together = basic_iterative(squares(), model.loss(goals), epsilon=0.05, steps=3)
    for number, goal in enumerate(goals):
        alone = basic_iterative(
            squares()[number : number + 1], model.loss([goal]), epsilon=0.05, steps=3
        )
        # A sum in another order can turn the sign of a slope that is almost 0.
        assert float((alone[0] != together[number]).float().mean()) < 0.01


@pytest.mark.parametrize(("kind", "text"), [(labelled, "ball"), (described, "box")])
def test_an_attack_makes_a_model_say_what_is_wanted(kind, text):
    model = kind()
    wanted = model.wanted(text)
    pixels = squares()[1::2]
    assert all(each.text != text for each in model.says(pixels))
    changed = basic_iterative(
        pixels, model.loss([wanted.goal] * 2), epsilon=0.5, steps=30, targeted=True
    )
    assert model.says(changed) == [wanted] * 2
