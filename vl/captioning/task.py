"""The captioner's training task: model, loss and validation."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vl.captioning.reward import Reward
from vl.data.batches import CaptionBatch, CaptionBatches, LossSum
from vl.data.captions.vocabulary import Vocabulary
from vl.data.choices import SelectionMetric
from vl.decoders import constraints
from vl.decoders.scheduled_sampling import SamplingSchedule
from vl.decoders.self_critical import advantages, sample_captions
from vl.decoders.show_and_tell import ShowAndTell
from vl.encoders.table import Network
from vl.metrics.bleu import corpus_bleu
from vl.training.selection import Validation

_SAMPLES = 5  # captions sampled for each image, as many as COCO and Flickr8k have references
_MAX_LENGTH = 20  # words of a sampled caption, including the end word, as in im2txt's search
_VALIDATION_BATCH = 512  # captions


class CaptionerTask(nn.Module):
    """Decoder, and encoder where both are trained, as one module whose forward is the loss.

    Args:
        decoder: generates the captions.
        encoder: where batches have pixels; without it they have embeddings.
        sampling_schedule: probability of scheduled sampling at each step.
        label_smoothing: of the targets.
        reward: makes the training self-critical: the loss is then that of captions sampled from the
            decoder, each weighted by its advantage over the image's others.
    """

    unit = "words"

    def __init__(
        self,
        decoder: ShowAndTell,
        encoder: Network | None = None,
        *,
        sampling_schedule: SamplingSchedule | None = None,
        label_smoothing: float = 0.0,
        reward: Reward | None = None,
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.encoder = encoder
        self._sampling_schedule = sampling_schedule
        self._label_smoothing = label_smoothing
        self._reward = reward

    def forward(self, batch: CaptionBatch, step: int) -> LossSum:
        """Sum of the negative log-likelihoods of a batch's words, and their count."""
        images = batch.images if self.encoder is None else self.encoder(batch.images)
        if self._reward is not None:
            return self._self_critical(images, batch.indices, self._reward)
        return self.decoder(
            images,
            batch.words,
            batch.lengths,
            batch.image_of,
            sampling_probability=self._sampling_schedule(step) if self._sampling_schedule else 0.0,
            label_smoothing=self._label_smoothing,
        )

    def _self_critical(self, images: Tensor, indices: Tensor, reward: Reward) -> LossSum:
        """The loss of ``_SAMPLES`` captions of each image, sampled without dropout."""
        self.decoder.eval()
        image_of = torch.arange(len(images), device=images.device).repeat_interleave(_SAMPLES)
        with torch.no_grad():
            step, state = constraints.forbid(
                self.decoder.step,
                self.decoder.start(images[image_of]),
                [Vocabulary.start, Vocabulary.unknown],
            )
        samples = sample_captions(
            step, state, start=Vocabulary.start, end=Vocabulary.end, max_length=_MAX_LENGTH
        )
        self.decoder.train()
        words, lengths = samples.words.tolist(), samples.lengths.tolist()
        captions = [ids[1:length] for ids, length in zip(words, lengths, strict=True)]
        rewards = torch.tensor(reward(indices[image_of].tolist(), captions), device=images.device)
        weights = advantages(rewards.view(len(images), _SAMPLES)).flatten()
        return self.decoder(images, samples.words, samples.lengths, image_of, weights=weights)


def make_validator(
    captions_of: Callable[[CaptionerTask, Tensor], list[str]],
    references: Sequence[Sequence[Sequence[str]]],
    embeddings_of: Callable[[Network | None], Tensor],
    *,
    vocabulary: Vocabulary,
    selection_metric: SelectionMetric,
) -> Callable[[CaptionerTask], Validation]:
    """Validation of a captioner in training, on the development split.

    It gives the loss (nats a word), BLEU-1 and BLEU-4 in hundredths, and the share of distinct
    captions in %.

    Args:
        captions_of: captions of embeddings by a captioner with the task's weights.
        references: the words of each image's reference captions.
        embeddings_of: the images' embeddings by the encoder in training, ``(images, D)``.
        vocabulary: of the decoder.
        selection_metric: the score that selects the best epoch; BLEU-4 counts from the first
            4-gram that matches.
    """
    ids = [[vocabulary.encode(caption) for caption in captions] for captions in references]
    batches = CaptionBatches(
        lambda indices, seeds: indices, ids, batch_size=_VALIDATION_BATCH, seed=None
    )

    def validate(task: CaptionerTask) -> Validation:
        vectors = embeddings_of(task.encoder)
        total, count = 0.0, 0
        for batch in batches.epoch(0):
            batch = batch.to(vectors.device)
            loss = task.decoder(vectors[batch.indices], batch.words, batch.lengths, batch.image_of)
            total += float(loss.total)
            count += int(loss.terms)
        texts = captions_of(task, vectors)
        bleu = corpus_bleu([text.split() for text in texts], references)
        loss = total / count
        metrics = {
            "loss": loss,
            "bleu-1": 100 * bleu.scores[0],
            "bleu-4": 100 * bleu.scores[3],
            "distinct": 100 * len(set(texts)) / len(texts),
        }
        if selection_metric == "loss":
            return Validation(-loss, metrics, loss)
        # Without a match BLEU-4 is what is added against division by zero.
        return Validation(metrics["bleu-4"], metrics, loss, score_counts=bleu.matches[3] > 0)

    return validate
