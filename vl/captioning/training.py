"""What the training loop needs to know of captioning: the loss, the images, and the judgement."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from vl.captioning.captioner import Captioner
from vl.data.batches import CaptionBatch, CaptionBatches, LossSum
from vl.data.captions.vocabulary import Vocabulary
from vl.decoders import constraints as rules
from vl.decoders.scheduled_sampling import SamplingSchedule
from vl.decoders.self_critical import advantages, sample_captions
from vl.decoders.show_and_tell import ShowAndTell
from vl.encoders.table import Network
from vl.metrics.bleu import corpus_bleu
from vl.training.loop import Validation

Criterion = Literal["bleu-4", "loss"]
# Images' rows and captions' ids after the start word to rewards.
Reward = Callable[[Sequence[int], Sequence[Sequence[int]]], Sequence[float]]
_SAMPLES = 5  # captions drawn for each image, as many as people wrote in COCO and Flickr8k
_LONGEST = 20  # words of a drawn caption, the end counted, as in im2txt's search


class CaptionerTask(nn.Module):
    """Decoder, and encoder where both are trained, as one module whose forward is the loss.

    Args:
        decoder: says the captions.
        encoder: where batches hold pixels; without it they hold embeddings.
        own_word: scheduled sampling's probability at each step.
        smoothing: of the labels.
        reward: makes the training self-critical: the loss is then that of captions drawn from the
            decoder, each weighed by how much better than the image's others it scores.
    """

    unit = "words"

    def __init__(
        self,
        decoder: ShowAndTell,
        encoder: Network | None = None,
        *,
        word_sampler: SamplingSchedule | None = None,
        smoothing: float = 0.0,
        reward: Reward | None = None,
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.encoder = encoder
        self._own_word = word_sampler
        self._smoothing = smoothing
        self._reward = reward

    def forward(self, batch: CaptionBatch, step: int) -> LossSum:
        """The sum of -log p of the real words of a batch, and their number."""
        images = batch.images if self.encoder is None else self.encoder(batch.images)
        if self._reward is not None:
            return self._self_critical(images, batch.indices.tolist(), self._reward)
        return self.decoder(
            images,
            batch.words,
            batch.lengths,
            batch.image_of,
            sampling_probability=self._own_word(step) if self._own_word else 0.0,
            label_smoothing=self._smoothing,
        )

    def _self_critical(self, images: Tensor, rows: list[int], reward: Reward) -> LossSum:
        """The loss of ``_SAMPLES`` captions of each image, drawn without dropout."""
        self.decoder.eval()
        image_of = torch.arange(len(images), device=images.device).repeat_interleave(_SAMPLES)
        with torch.no_grad():
            step, state = rules.forbid(
                self.decoder.step,
                self.decoder.start(images[image_of]),
                [Vocabulary.start, Vocabulary.unknown],
            )
        drawn = sample_captions(
            step, state, start=Vocabulary.start, end=Vocabulary.end, max_length=_LONGEST
        )
        self.decoder.train()
        captions = [
            words[1:length]
            for words, length in zip(drawn.words.tolist(), drawn.lengths.tolist(), strict=True)
        ]
        rewards = torch.tensor(
            reward([rows[image] for image in image_of.tolist()], captions), device=images.device
        ).view(len(images), _SAMPLES)
        weights = advantages(rewards).flatten()
        return self.decoder(images, drawn.words, drawn.lengths, image_of, weights=weights)


def make_validator(
    captioner: Callable[[CaptionerTask], Captioner],
    batches: CaptionBatches,
    references: Mapping[str, Sequence[Sequence[str]]],
    embeddings: Callable[[CaptionerTask], Tensor],
    *,
    criterion: Criterion,
) -> Callable[[CaptionerTask], Validation]:
    """A judge of a captioner in training, on its development split.

    Args:
        captioner: the captioner that a model in training would be.
        batches: the split's captions, for the loss.
        references: for each image of the split its true captions as words, in the order of
            ``embeddings``.
        embeddings: of the split's images, ``(images, D)``.
        criterion: what counts as better: BLEU-4, or the loss.

    Returns:
        Judges by figures: loss (nats a word), perplexity-free BLEU-1 and BLEU-4 in hundredths, and
        the share of distinct captions.
    """

    def validate(model: CaptionerTask) -> Validation:
        vectors = embeddings(model)
        total, count = 0.0, 0
        for batch in batches.epoch(0):
            loss = model.decoder(vectors[batch.indices], batch.words, batch.lengths, batch.image_of)
            total += float(loss.total)
            count += int(loss.terms)
        ready = captioner(model)
        texts = [
            caption[0].text
            for begin in range(0, len(vectors), 256)
            for caption in ready.describe(vectors[begin : begin + 256])
        ]
        scores = corpus_bleu([text.split() for text in texts], list(references.values())).scores
        figures = {
            "loss": total / count,
            "bleu-1": 100 * scores[0],
            "bleu-4": 100 * scores[3],
            "distinct": len(set(texts)) / len(texts),
        }
        return Validation(-figures["loss"] if criterion == "loss" else figures[criterion], figures)

    return validate


def rows_only(rows: Tensor, draws: Tensor) -> Tensor:
    """A source that gives the rows themselves, for a judge that holds the vectors."""
    return rows
