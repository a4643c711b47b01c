"""The captioner's task: losses by hand, validation, self-critical training."""

import math
from itertools import pairwise

import pytest
import torch

from tests.helpers.tiny_captioner import WORDS, Tiny, captioner, decoder, drawings, encoder
from vl.captioning.task import CaptionerTask, make_validator
from vl.data.batches import CaptionBatches, random_view
from vl.data.captions.vocabulary import Vocabulary
from vl.data.images.decode import decode, square
from vl.encoding.embedder import image_file_source
from vl.metrics.bleu import corpus_bleu

VOCABULARY = Vocabulary(WORDS)
CAPTIONS = ["a red ball on grass", "the box", "a blue ring", "a green box on the sand", "a ball"]
IDS = [[VOCABULARY.encode(caption.split())] for caption in CAPTIONS]


def nll_by_hand(model, vectors, captions=IDS):
    """Negative log-likelihood of every word after the start word, word by word, and their count."""
    total, count = 0.0, 0
    for vector, ids in ((v, ids) for v, all_ids in zip(vectors, captions) for ids in all_ids):
        state = model.start(vector[None])
        for word, following in pairwise(ids):
            log_probs, state = model.step(torch.tensor([word]), state)
            total -= log_probs[0, following].item()
            count += 1
    return total, count


def batch_of(source, **options):
    (batch,) = CaptionBatches(source, IDS, batch_size=5, seed=None, **options).epoch(0)
    return batch


def test_loss_on_embeddings_is_that_of_every_word():
    vectors = torch.randn(5, Tiny.width)
    task = CaptionerTask(decoder()).eval()
    total, terms = task(batch_of(random_view(vectors[:, None])), 0)
    expected, count = nll_by_hand(task.decoder, vectors)
    assert (int(terms), total.item()) == (count, pytest.approx(expected, rel=1e-5))


def test_loss_on_images_goes_through_the_encoder(tmp_path):
    paths = drawings(tmp_path, 5)
    source = image_file_source(
        paths, preprocess=lambda path: square(decode(path), 16, "squash"), views=("plain",)
    )
    task = CaptionerTask(decoder(), encoder()).eval()
    total, terms = task(batch_of(source, unit="image"), 0)
    pixels = torch.stack([square(decode(path), 16, "squash") for path in paths])
    with torch.no_grad():
        expected, count = nll_by_hand(task.decoder, encoder()(pixels))
    assert (int(terms), total.item()) == (count, pytest.approx(expected, rel=1e-5))
    total.backward()
    assert task.encoder.body[0].weight.grad.abs().sum() > 0


def test_sampling_schedule_gets_the_step():
    steps = []
    batch = batch_of(random_view(torch.randn(5, 1, Tiny.width)))
    task = CaptionerTask(decoder(), sampling_schedule=lambda step: steps.append(step) or 0.0)
    plain = CaptionerTask(decoder()).eval()
    assert torch.equal(task.eval()(batch, 7).total, plain(batch, 7).total)
    assert steps == [7]


def validator(references, embeddings_of, selection_metric):
    def captions_of(task, vectors):
        return [best.text for (best,) in captioner(decoders=[task.decoder]).describe(vectors)]

    return make_validator(
        captions_of,
        references,
        embeddings_of,
        vocabulary=VOCABULARY,
        selection_metric=selection_metric,
    )


@pytest.mark.parametrize("selection_metric", ["bleu-4", "loss"])
def test_validation_metrics(selection_metric):
    vectors = torch.randn(5, Tiny.width)
    task = CaptionerTask(decoder()).eval()
    references = [[caption.split(), ["a", "ring"]] for caption in CAPTIONS]
    validate = validator(references, lambda encoder: vectors, selection_metric)
    with torch.no_grad():
        result = validate(task)
        ids = [[VOCABULARY.encode(caption) for caption in image] for image in references]
        total, count = nll_by_hand(task.decoder, vectors, ids)
    texts = [best.text for (best,) in captioner().describe(vectors)]
    bleu = corpus_bleu([text.split() for text in texts], references).scores
    assert result.metrics == {
        "loss": pytest.approx(total / count, rel=1e-5),
        "bleu-1": pytest.approx(100 * bleu[0]),
        "bleu-4": pytest.approx(100 * bleu[3]),
        "distinct": 100 * len(set(texts)) / 5,
    }
    sign = 1 if selection_metric == "bleu-4" else -1
    assert result.score == sign * result.metrics[selection_metric]
    assert math.isfinite(result.score)
    assert result.loss == result.metrics["loss"]


@pytest.mark.parametrize(
    ("texts", "counts"),
    [
        (["a", "a a a a", "", "ring", "ball"], False),
        (["a red ball", "the box", "a blue ring", "green box on sand", "a ball"], False),
        (["on grass a red ball on", "a", "a", "a", "a"], True),
    ],
)
def test_bleu_4_counts_from_the_first_match_of_four_words(texts, counts):
    """Of the first captions' BLEU-4 all is rounding: no four words are those of a reference."""
    vectors = torch.randn(5, Tiny.width)
    references = [[caption.split()] for caption in CAPTIONS]
    by_bleu, by_loss = (
        make_validator(
            lambda task, vectors: texts,
            references,
            lambda encoder: vectors,
            vocabulary=VOCABULARY,
            selection_metric=metric,
        )
        for metric in ("bleu-4", "loss")
    )
    task = CaptionerTask(decoder()).eval()
    with torch.no_grad():
        result = by_bleu(task)
        assert by_loss(task).score_counts
    assert (result.score_counts, result.score > 0.1) == (counts, counts)


def test_validation_embeds_by_the_tasks_encoder():
    """In fine-tuning the embeddings change from epoch to epoch."""
    validated = []
    vectors = torch.randn(5, Tiny.width)
    references = [[caption.split()] for caption in CAPTIONS]
    validate = validator(references, lambda encoder: validated.append(encoder) or vectors, "loss")
    tasks = [CaptionerTask(decoder(seed), encoder(seed)).eval() for seed in (0, 1)]
    with torch.no_grad():
        scores = [validate(task).score for task in tasks]
    assert validated == [task.encoder for task in tasks]
    assert scores[0] != scores[1]


def test_self_critical_training_makes_rewarded_captions_likelier():
    """With a reward for the word "ball", its probability grows."""
    ball = VOCABULARY.encode(["ball"])[1]
    rewarded = []

    def reward(images, captions):
        rewarded.extend(images)
        return [float(ball in words) for words in captions]

    vectors = torch.randn(3, Tiny.width)
    batches = CaptionBatches(random_view(vectors[:, None]), IDS[:3], batch_size=3, unit="image")
    task = CaptionerTask(decoder(), reward=reward).train()
    optimizer = torch.optim.Adam(task.parameters(), lr=0.02)
    probabilities = []
    for step in range(40):
        (batch,) = batches.epoch(step)
        rewarded.clear()
        total, terms = task(batch, step)
        assert rewarded == [row for row in batch.indices.tolist() for _ in range(5)]
        optimizer.zero_grad()
        (total / terms).backward()
        optimizer.step()
        assert task.decoder.training
        with torch.no_grad():
            model = task.decoder.eval()
            log_probs, _ = model.step(torch.zeros(3).long(), model.start(vectors))
        task.decoder.train()
        probabilities.append(log_probs[:, ball].exp().mean().item())
    assert probabilities[-1] > 3 * probabilities[0]
