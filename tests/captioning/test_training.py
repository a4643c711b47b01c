"""What training knows of captioning: the loss, the photographs, the judgement."""

import math
from itertools import pairwise

import pytest
import torch

from tests.helpers.tiny_captioner import WORDS, Tiny, captioner, decoder, drawings, encoder
from vl.captioning.training import CaptionerTask, make_validator, rows_only
from vl.data.batches import CaptionBatches, random_view
from vl.data.captions.vocabulary import Vocabulary
from vl.data.images.decode import decode, square
from vl.encoding.embedder import image_file_source
from vl.metrics.bleu import corpus_bleu

VOCABULARY = Vocabulary(WORDS)
SAID = ["a red ball on grass", "the box", "a blue ring", "a green box on the sand", "a ball"]


def encoded(captions):
    return [[VOCABULARY.encode(caption.split())] for caption in captions]


def loss_by_hand(made, vectors, captions):
    """-log p of every word behind the start, word by word, and how many there are."""
    total, count = 0.0, 0
    for vector, (ids,) in zip(vectors, captions, strict=True):
        state = made.start(vector[None])
        for word, following in pairwise(ids):
            log_probs, state = made.step(torch.tensor([word]), state)
            total -= log_probs[0, following].item()
            count += 1
    return total, count


def test_the_loss_on_embeddings_is_that_of_every_word():
    vectors = torch.randn(5, Tiny.width)
    batches = CaptionBatches(random_view(vectors[:, None]), encoded(SAID), batch_size=5, seed=None)
    (batch,) = batches.epoch(0)
    made = CaptionerTask(decoder()).eval()
    total, terms = made(batch, 0)
    by_hand, count = loss_by_hand(made.decoder, vectors, encoded(SAID))
    assert int(terms) == count
    assert total.item() == pytest.approx(by_hand, rel=1e-5)


def test_the_loss_on_photographs_goes_through_the_encoder(tmp_path):
    paths = drawings(tmp_path, 5)
    source = image_file_source(paths, image_size=16, resize="squash", views=("plain",))
    batches = CaptionBatches(source, encoded(SAID), batch_size=5, unit="image", seed=None)
    (batch,) = batches.epoch(0)
    made = CaptionerTask(decoder(), encoder()).eval()
    total, terms = made(batch, 0)
    pixels = torch.stack([square(decode(path), 16, "squash") for path in paths])
    with torch.no_grad():
        by_hand, count = loss_by_hand(made.decoder, encoder()(pixels), encoded(SAID))
    assert (int(terms), total.item()) == (count, pytest.approx(by_hand, rel=1e-5))
    total.backward()
    assert made.encoder.body[0].weight.grad.abs().sum() > 0


def test_scheduled_sampling_is_asked_at_each_step():
    asked = []
    batches = CaptionBatches(
        random_view(torch.randn(5, 1, Tiny.width)), encoded(SAID), batch_size=5, seed=None
    )
    (batch,) = batches.epoch(0)
    made = CaptionerTask(decoder(), word_sampler=lambda step: asked.append(step) or 0.0).eval()
    plain = CaptionerTask(decoder()).eval()
    assert torch.equal(made(batch, 7).total, plain(batch, 7).total)
    assert asked == [7]


@pytest.mark.parametrize("criterion", ["bleu-4", "loss"])
def test_the_judge_gives_the_figures_of_the_captions_it_gets(criterion):
    vectors = torch.randn(5, Tiny.width)
    model = CaptionerTask(decoder()).eval()
    truth = [[caption.split(), ["a", "ring"]] for caption in SAID]
    judge = make_validator(
        lambda given: captioner(decoders=[given.decoder]),
        CaptionBatches(rows_only, encoded(SAID), batch_size=2, seed=None),
        {str(row): said for row, said in enumerate(truth)},
        lambda given: vectors,
        criterion=criterion,
    )
    with torch.no_grad():
        judged = judge(model)
        total, count = loss_by_hand(model.decoder, vectors, encoded(SAID))
    texts = [one.text for (one,) in captioner().describe(vectors)]
    scores = corpus_bleu([text.split() for text in texts], truth).scores
    assert judged.metrics == {
        "loss": pytest.approx(total / count, rel=1e-5),
        "bleu-1": pytest.approx(100 * scores[0]),
        "bleu-4": pytest.approx(100 * scores[3]),
        "distinct": len(set(texts)) / 5,
    }
    better = judged.metrics["bleu-4"] if criterion == "bleu-4" else -judged.metrics["loss"]
    assert judged.score == better
    assert math.isfinite(judged.score)


def test_a_judge_looks_at_pixels_through_the_model_s_own_encoder():
    """In phase 2 the embeddings change from epoch to epoch."""
    asked = []
    vectors = torch.randn(5, Tiny.width)
    judge = make_validator(
        lambda given: captioner(decoders=[given.decoder]),
        CaptionBatches(rows_only, encoded(SAID), batch_size=5, seed=None),
        {str(row): [caption.split()] for row, caption in enumerate(SAID)},
        lambda given: asked.append(given) or vectors,
        criterion="loss",
    )
    models = [CaptionerTask(decoder(seed), encoder(seed)).eval() for seed in (0, 1)]
    with torch.no_grad():
        scores = [judge(model).score for model in models]
    assert asked == models
    assert scores[0] != scores[1]


def test_self_critical_training_makes_rewarded_captions_likelier():
    """One image, and a reward for saying "ball": it is said more and more often."""
    ball = VOCABULARY.encode(["ball"])[1]
    asked = []

    def reward(images, captions):
        asked.extend(images)
        return [float(ball in words) for words in captions]

    vectors = torch.randn(3, Tiny.width)
    batches = CaptionBatches(
        random_view(vectors[:, None]), encoded(SAID[:3]), batch_size=3, unit="image"
    )
    made = CaptionerTask(decoder(), reward=reward).train()
    optimizer = torch.optim.Adam(made.parameters(), lr=0.02)
    shares = []
    for step in range(40):
        (batch,) = batches.epoch(step)
        asked.clear()
        total, terms = made(batch, step)
        assert asked == [row for row in batch.indices.tolist() for _ in range(5)]
        optimizer.zero_grad()
        (total / terms).backward()
        optimizer.step()
        assert made.decoder.training
        with torch.no_grad():
            log_probs, _ = made.decoder.eval().step(
                torch.zeros(3).long(), made.decoder.start(vectors)
            )
        made.decoder.train()
        shares.append(log_probs[:, ball].exp().mean().item())
    assert shares[-1] > 3 * shares[0]
