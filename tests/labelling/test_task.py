"""Labels and their places, what is trained on, the judge, ConSE's classifier, and the whole."""

import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.helpers.tiny_captioner import Tiny, embedder
from tests.helpers.tiny_labeller import IS_A, SYNSETS, WIDTH, units, words
from tests.labelling.test_examples import examples
from vl.data.words.label_lists import LabelList
from vl.data.words.label_space import LabelSpace
from vl.data.words.labels import Label
from vl.data.words.wordnet import WordNet
from vl.decoders.devise import Devise
from vl.labelling.setup import Phase
from vl.labelling.task import conse_of, held_out, judge, labeller_of, randomised, task_of
from vl.labelling.training import LabellerTask

NAMES = ("ball", "box", "ring", "stop sign", "okapi", "giraffe", "guitar", "quokka")
COUNTS = [4, 3, 1, 2, 5, 4, 3, 2]


def phase(names=NAMES, counts=COUNTS, views=2):
    """Embeddings near a point of each label's own."""
    made = examples(counts, [Label(name, None) for name in names])
    centres = 5 * units(len(names), Tiny.width, seed=9)
    generator = torch.Generator().manual_seed(3)
    noise = 0.1 * torch.randn(len(made.of), views, Tiny.width, generator=generator)
    vectors = centres[list(made.of)][:, None] + noise
    return Phase(embedder(views=("plain", "flip")[:views], resize="center-crop"), made, vectors)


def task(space=None, *, given=None, development=0.3, centre=False, seed=0, quiet=True):
    return task_of(
        given or phase(),
        space or LabelSpace(words()),
        development=development,
        centre=centre,
        seed=seed,
        quiet=quiet,
    )


def test_labels_without_a_vector_are_neither_trained_on_nor_put_aside(caplog):
    caplog.set_level(logging.INFO)
    made = task(quiet=False)
    assert sorted([*made.parts.training, *made.parts.unseen]) == list(range(7))
    assert made.vectors[7].isnan().all()
    assert "no vector: quokka" in caplog.text
    assert "2 are of labels without a vector" in caplog.text
    counted = made.parts
    said = (
        f"{len(counted.training_rows)} photographs of 5 labels are trained on; "
        f"{len(counted.unseen_rows)} of 2 other labels and {len(counted.seen_rows)} of the same"
    )
    assert said in caplog.text


def test_labels_whose_photographs_are_gone_are_said(caplog):
    caplog.set_level(logging.INFO)
    made = task(given=phase(counts=[4, 3, 0, 2, 5, 0, 3, 2]), quiet=False)
    assert not {2, 5} & {*made.parts.training, *made.parts.unseen}
    assert "no photograph of label 'ring' is left" in caplog.text
    assert "no photograph of label 'giraffe' is left" in caplog.text


def test_words_are_those_of_the_training_labels():
    made = task()
    expected = np.stack([words()[NAMES[n].replace(" ", "_")] for n in made.parts.training])
    assert np.allclose(made.words.numpy(), expected, atol=1e-6)
    rows = [made.parts.unseen_rows[0], made.parts.unseen_rows[-1]]
    labels = list(made.parts.unseen)
    found = [labels[number] for number in made.numbers(rows, labels)]
    assert found == [made.phase.examples.of[row] for row in rows]


def test_the_centre_is_the_mean_of_the_training_labels():
    plain, made = task(), task(centre=True)
    assert made.parts == plain.parts
    assert np.allclose(made.space.mean, plain.words.numpy().mean(0), atol=1e-6)
    expected = F.normalize(plain.vectors - plain.words.mean(0), dim=1)
    assert torch.allclose(made.vectors[:7], expected[:7], atol=1e-5)


def test_a_label_at_the_centre_is_refused():
    same = phase(["ball", "Ball, x"], [2, 2])
    with pytest.raises(ValueError, match="label 'ball' lies at the centre of the labels trained"):
        task(given=same, development=0, centre=True)


def test_held_out_photographs_go_with_their_vectors(caplog):
    caplog.set_level(logging.INFO)
    before = phase()
    labels = LabelList(tuple(map(Label, ("Okapi", "box, crate", "zebra"))), ("a note",))
    rest = held_out(before, labels, quiet=False)
    assert [label.text for label in rest.examples.labels] == [
        name for name in NAMES if name not in ("okapi", "box")
    ]
    assert len(rest.vectors) == sum(COUNTS) - 8
    for name, vector in zip(rest.examples.names, rest.vectors, strict=True):
        assert torch.equal(vector, before.vectors[before.examples.names.index(name)])
    assert "held out: 8 photographs of 2 labels; 3 are listed" in caplog.text
    assert "held out: a note" in caplog.text
    with pytest.raises(ValueError, match="0 labels with photographs"):
        task(given=held_out(before, LabelList(tuple(map(Label, NAMES))), quiet=True), development=0)


def test_the_judge_sees_only_labels_that_are_put_aside():
    made = task()
    model = LabellerTask(
        Devise(image_width=Tiny.width, width=WIDTH), made.words, loss="full", margin=0.1
    )
    with torch.no_grad():
        found = judge(made, torch.device("cpu"))(model)
        rows = list(made.parts.unseen_rows)
        projected = F.normalize(model.devise(made.phase.vectors[rows].mean(1)), dim=1)
    names = [made.phase.examples.of[row] for row in rows]
    best = [
        made.parts.unseen[int((made.vectors[list(made.parts.unseen)] @ v).argmax())]
        for v in projected
    ]
    right = sum(one == other for one, other in zip(best, names, strict=True))
    assert found.metrics["hit@1"] == pytest.approx(100 * right / len(rows))
    assert found.metrics["hit@2"] == 100  # there are two
    assert judge(task(development=0), torch.device("cpu")) is None


def test_conse_s_own_classifier_knows_the_photographs():
    made = task()
    conse = conse_of(made, None, top=1)
    rows = list(made.parts.training_rows)
    found = conse.classifier(made.phase.vectors[rows].mean(1)).argmax(1).tolist()
    assert found == made.numbers(rows, made.parts.training)
    assert conse_of(made, None, top=99).top_k == 5


def test_conse_by_classes_is_cut_to_the_labels_that_are_trained_on(tmp_path):
    wordnet = WordNet(SYNSETS, IS_A)
    given = phase()
    labels = [Label("okapi", "n00000003") if n == "okapi" else Label(n, None) for n in NAMES]
    given = given._replace(examples=given.examples._replace(labels=tuple(labels)))
    made = task(LabelSpace(words(), wordnet), given=given, development=0)
    path = tmp_path / "classes.txt"
    path.write_text("zebra\nn00000003\nguitar\nball\nbox\n")
    conse = conse_of(made, path, top=3)
    classes = {0: 3, 1: 4, 4: 1, 6: 2}  # number of the label: line of the class, from 0
    weight = given.embedder.encoder.classifier.weight
    assert torch.equal(conse.classifier.weight, weight[list(classes.values())])
    assert torch.equal(conse.label_vectors, made.vectors[list(classes)])
    path.write_text("zebra\nokapi\nguitar\n")
    with pytest.raises(ValueError, match="has 3 classes, the encoder's classifier 5"):
        conse_of(made, path, top=3)
    path.write_text("zebra\nlion\n")
    with pytest.raises(ValueError, match="none of the labels trained on is in it"):
        conse_of(made, path, top=3)
    path.write_text("ball\nBall\n")
    with pytest.raises(ValueError, match=r"each line is a class of the encoder; .*repeated label"):
        conse_of(made, path, top=3)


def whole(made, **choices):
    devise = Devise(image_width=Tiny.width, width=WIDTH)
    return labeller_of(made, {"devise": devise}, settings={"seed": 0}, tuned=False, **choices)


def test_the_labeller_says_what_it_was_trained_on():
    made = task()
    labeller = whole(made)
    assert [label.text for label in labeller.seen] == [NAMES[n] for n in made.parts.training]
    assert labeller.training == {
        "settings": {"seed": 0},
        "views": ["plain", "flip"],
        "resize": "center-crop",
        "photographs": len(made.parts.training_rows),
        "labels": 5,
    }
    assert [label.text for label in labeller.aside] == [NAMES[n] for n in made.parts.unseen]
    assert (labeller.embedder.views, labeller.embedder.resize) == (("plain", "flip"), "center-crop")
    assert not any(each.requires_grad for each in labeller.embedder.encoder.parameters())
    before = (Label("zebra", None), labeller.seen[1])
    seen = whole(made, seen=before).seen
    assert (seen[:2], len(seen)) == (before, 6)


def test_the_labeller_is_calibrated_by_all_that_was_put_aside():
    made = task()
    labeller = whole(made)
    rows = list(made.parts.unseen_rows)
    expected = labeller.project(made.phase.vectors[rows].mean(1))
    assert torch.allclose(labeller.calibration.references, expected, atol=1e-6)
    truths = made.vectors[[made.phase.examples.of[row] for row in rows]]
    assert torch.equal(labeller.calibration.truths, truths)
    assert whole(task(development=0)).calibration is None


def test_random_words_keep_their_names_and_lose_their_directions():
    one, other = randomised(words(), 1), randomised(words(), 2)
    assert one.words == words().words
    assert np.allclose(np.linalg.norm(one.matrix, axis=1), 1, atol=1e-5)
    assert np.array_equal(one.matrix, randomised(words(), 1).matrix)
    assert not np.allclose(one.matrix, other.matrix)
    assert not np.allclose(one.matrix, words().matrix)
