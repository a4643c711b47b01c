"""Training data: labels in word space, the split, validation and ConSE."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.helpers.tiny_captioner import Tiny, embedder
from tests.helpers.tiny_labeller import IS_A, SYNSETS, WIDTH, units, word_vectors, words
from tests.labelling.test_examples import examples
from vl.data.words.label_space import LabelSpace
from vl.data.words.labels import Label
from vl.data.words.wordnet import WordNet
from vl.decoders.devise import Devise, hinge_rank_loss
from vl.labelling.examples import EmbeddedExamples
from vl.labelling.recipe import ConseConfig, SplitConfig
from vl.labelling.task import LabellerTask, make_validator
from vl.labelling.training_data import make_conse, prepare_training_data, random_vectors
from vl.metrics.zero_shot import KS

NAMES = ("ball", "box", "ring", "stop sign", "okapi", "giraffe", "guitar", "quokka")
COUNTS = [4, 3, 1, 2, 5, 4, 3, 2]


def embedded(labels=NAMES, counts=COUNTS, views=2):
    """Embeddings in a cluster for each label."""
    labelled = examples(counts, [Label(x) if isinstance(x, str) else x for x in labels])
    centers = 5 * units(len(labels), Tiny.width, seed=9)
    generator = torch.Generator().manual_seed(3)
    noise = 0.1 * torch.randn(len(labelled.targets), views, Tiny.width, generator=generator)
    vectors = centers[list(labelled.targets)][:, None] + noise
    model = embedder(views=("plain", "flip")[:views], resize="center-crop")
    return EmbeddedExamples(model, labelled, vectors)


def prepare(images=None, space=None, *, development=0.3, subtract_mean=False):
    return prepare_training_data(
        images or embedded(),
        space or LabelSpace(words()),
        SplitConfig(development_share=development),
        subtract_mean=subtract_mean,
        seed=0,
    )


def test_labels_without_a_vector_are_in_no_split(caplog):
    caplog.set_level("INFO")
    data = prepare()
    assert sorted([*data.split.training, *data.split.development]) == list(range(7))
    assert data.vectors[7].isnan().all()
    assert "no vector: quokka" in caplog.text
    assert f"{len(data.split.training_rows)} images of 5 labels" in caplog.text
    assert "no vector: 2 images" in caplog.text


def test_labels_without_images_are_reported(caplog):
    data = prepare(embedded(counts=[4, 3, 0, 2, 5, 0, 3, 2]))
    assert not {2, 5} & {*data.split.training, *data.split.development}
    assert "'ring'" in caplog.text
    assert "'giraffe'" in caplog.text


def test_label_vectors_and_targets():
    data = prepare()
    expected = word_vectors(data.space, [label.text for label in data.training_labels])
    assert np.allclose(data.label_vectors.numpy(), expected, atol=1e-6)
    rows, labels = data.split.unseen_rows, data.split.development
    targets = [labels[target] for target in data.targets(rows, labels)]
    assert targets == [data.embedded.examples.targets[row] for row in rows]
    assert [label.text for label in data.development_labels] == [NAMES[i] for i in labels]


def test_subtracted_mean_is_that_of_the_training_labels():
    plain, data = prepare(), prepare(subtract_mean=True)
    assert data.split == plain.split
    assert np.allclose(data.space.mean, plain.label_vectors.numpy().mean(0), atol=1e-6)
    expected = F.normalize(plain.vectors - plain.label_vectors.mean(0), dim=1)
    assert torch.allclose(data.vectors[:7], expected[:7], atol=1e-5)
    same = embedded(["ball", "Ball, x"], [2, 2])
    with pytest.raises(ValueError, match=r"'ball'.*--subtract-mean"):
        prepare(same, development=0, subtract_mean=True)


def test_validation_counts_hits_among_development_labels():
    data = prepare(development=0.6)
    task = LabellerTask(
        Devise(image_width=Tiny.width, width=WIDTH), data.label_vectors, loss="full", margin=0.1
    )
    rows, labels = list(data.split.unseen_rows), list(data.split.development)
    with torch.no_grad():  # as in the training loop
        result = make_validator(data, torch.device("cpu"))(task)
        projected = F.normalize(task.devise(data.embedded.vectors[rows].mean(1)), dim=1)
    cosines = projected @ data.vectors[labels].T
    own = cosines.gather(1, torch.tensor(data.targets(rows, labels))[:, None])
    ranks = (cosines >= own).sum(1)
    expected = {f"hit@{k}": 100 * float((ranks <= k).float().mean()) for k in KS if k < len(labels)}
    expected["mrr"] = 100 * float((1 / ranks).mean())
    assert result.metrics == pytest.approx(expected)
    assert result.score == pytest.approx(expected["mrr"])  # hit@20 would be 100 by construction
    assert 0 < expected["hit@2"] < 100
    assert make_validator(prepare(development=0), torch.device("cpu")) is None


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_hits_of_zero_say_nothing(scale):
    """So that training does not stop early before the first hit; equal scores rank last."""
    names = [f"word{index}" for index in range(30)]
    data = prepare(embedded(names, [1] * 30), LabelSpace(words(names)), development=0.9)
    devise = Devise(image_width=Tiny.width, width=WIDTH)
    with torch.no_grad():
        for parameter in devise.parameters():
            parameter *= scale
        task = LabellerTask(devise, data.label_vectors, loss="full", margin=0.1)
        result = make_validator(data, torch.device("cpu"))(task)
    assert (result.score > 0, result.score_counts) == (scale > 0, scale > 0)


@pytest.mark.parametrize("count", [19, 20])
def test_few_development_images_are_warned_of(caplog, count):
    names = [f"word{index}" for index in range(count + 2)]
    data = prepare(
        embedded(names, [1] * len(names)), LabelSpace(words(names)), development=count / len(names)
    )
    caplog.clear()
    make_validator(data, torch.device("cpu"))
    assert ("19 images one of them moves" in caplog.text) == (count == 19)


@pytest.mark.parametrize(("count", "score"), [(20, "mrr"), (21, "hits")])
def test_few_development_labels_are_ranked_by_reciprocal_rank(caplog, count, score):
    """Of 20 labels hit@20 is 100 by construction."""
    names = [f"word{index}" for index in range(count + 2)]
    images = embedded(names, [1] * len(names))
    data = prepare(images, LabelSpace(words(names)), development=count / len(names))
    assert len(data.split.development) == count
    caplog.clear()
    validate = make_validator(data, torch.device("cpu"), margin=0.3)
    assert ("hit@20" in caplog.text) == (score == "mrr")
    task = LabellerTask(
        Devise(image_width=Tiny.width, width=WIDTH), data.label_vectors, loss="first", margin=0.3
    )
    with torch.no_grad():
        result = validate(task)
        rows = list(data.split.unseen_rows)
        loss = hinge_rank_loss(
            task.devise(data.embedded.vectors[rows].mean(1)),
            data.vectors[list(data.split.development)],
            torch.tensor(data.targets(rows, data.split.development)),
            margin=0.3,
        )
    hits = [value for name, value in result.metrics.items() if name != "mrr"]
    assert len(hits) == sum(k < count for k in KS)
    expected = result.metrics["mrr"] if score == "mrr" else sum(hits) / len(hits)
    assert result.score == pytest.approx(expected)
    assert result.loss == pytest.approx(loss.item())


def test_conse_trains_a_classifier():
    data = prepare()
    conse = make_conse(data, ConseConfig(top_k=1))
    rows = list(data.split.training_rows)
    images = data.embedded.vectors[rows].mean(1)
    targets = data.targets(rows, data.split.training)
    assert conse.classifier(images).argmax(1).tolist() == targets
    projected = F.normalize(conse(images), dim=1)
    assert torch.allclose(projected, data.label_vectors[targets], atol=1e-5)
    assert make_conse(data, ConseConfig(top_k=99)).top_k == 5


def test_conse_by_the_encoder_s_classifier(tmp_path):
    labels = [Label(name, "n00000003" if name == "okapi" else None) for name in NAMES]
    space = LabelSpace(words(), WordNet(SYNSETS, IS_A))
    data = prepare(embedded(labels), space, development=0)
    path = tmp_path / "classes.txt"
    path.write_text("zebra\nn00000003\nguitar\nball\nbox\n")
    conse = make_conse(data, ConseConfig(classes=path))
    lines = {0: 3, 1: 4, 4: 1, 6: 2}  # index of the label: line of the class, from 0
    classifier = data.embedded.embedder.encoder.classifier
    before = classifier.weight.clone()
    assert torch.equal(conse.classifier.weight, before[list(lines.values())])
    assert torch.equal(conse.label_vectors, data.vectors[list(lines)])
    conse.classifier.weight.data.zero_()
    assert torch.equal(classifier.weight, before)


@pytest.mark.parametrize(
    ("classes", "word"),
    [
        ("zebra\nokapi\nguitar\n", "3 classes"),
        ("zebra\nlion\n", "none of the training labels"),
        ("ball\nBall\n", "each line"),
        ("ball\n\nbox\n", "each line"),
    ],
)
def test_classes_that_are_not_the_encoder_s_are_refused(tmp_path, classes, word):
    path = tmp_path / "classes.txt"
    path.write_text(classes)
    with pytest.raises(ValueError, match=word):
        make_conse(prepare(development=0), ConseConfig(classes=path))


def test_classes_of_labels_by_id_or_first_name(tmp_path):
    """Ids decide where classes have them; names must match as labels do."""
    labels = [Label("okapi", "n00000003"), Label("ring", "n00000006"), Label("Box")]
    data = prepare(embedded(labels, [2, 2, 2]), development=0)
    path = tmp_path / "classes.txt"
    path.write_text("n00000007 ring\nokapi\nn00000006 ring, band\nx\ncrate, box\n")
    conse = make_conse(data, ConseConfig(classes=path))
    weight = data.embedded.embedder.encoder.classifier.weight
    assert torch.equal(conse.classifier.weight, weight[[2, 4]])  # okapi's class has no id


def test_encoder_without_classifier_is_refused(tmp_path):
    data = prepare(development=0)
    data.embedded.embedder.encoder.classifier = torch.nn.Identity()
    path = tmp_path / "classes.txt"
    path.write_text("ball\n")
    with pytest.raises(ValueError, match="no classifier"):
        make_conse(data, ConseConfig(classes=path))


def test_random_vectors_keep_the_words():
    one, other = random_vectors(words(), 1), random_vectors(words(), 2)
    assert one.words == words().words
    assert np.allclose(np.linalg.norm(one.matrix, axis=1), 1, atol=1e-5)
    assert np.array_equal(one.matrix, random_vectors(words(), 1).matrix)
    assert not np.allclose(one.matrix, other.matrix)
    assert not np.allclose(one.matrix, words().matrix)
