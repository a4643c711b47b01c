"""Training of a captioner: the decoder alone, encoder and decoder together, or self-critical."""

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from vl.captioning.captioner import Captioner
from vl.captioning.recipe import (
    CAPTIONER_FILE,
    AnyTraining,
    CaptionerFinetuning,
    CaptionerTraining,
    SelfCriticalTraining,
    TeacherForcingRecipe,
)
from vl.captioning.reward import caption_reward
from vl.captioning.search import SearchSettings
from vl.captioning.setup import (
    CaptionSplits,
    TrainingSetup,
    load_single_decoder,
    read_splits,
    setup_on_embeddings,
    setup_on_images,
)
from vl.captioning.task import CaptionerTask, make_validator
from vl.data.batches import CaptionBatches, Unit
from vl.data.captions.ptb.tokens import words
from vl.data.choices import SelectionMetric
from vl.decoders.scheduled_sampling import sampling_schedule
from vl.decoders.show_and_tell import ShowAndTell
from vl.devices import resolve_precision
from vl.encoders.table import Network
from vl.encoding.embedder import Embedder
from vl.encoding.pretrained import load_encoder
from vl.training.checkpoint import run_settings
from vl.training.loop import CheckpointConfig, StepConfig, ValidationConfig, train
from vl.training.optimizers import check_staircase, fitting_warmup, optimizer, schedule
from vl.training.parallel import Processes, process_group
from vl.training.selection import FEW_EXAMPLES, Validation, warn_of_few

_log = logging.getLogger(__name__)
_VALIDATION_BATCH = 256  # images
_WARMUP_STEPS = 200  # of a run of 2,000 steps or more; our choice


def train_captioner(config: CaptionerTraining) -> Path | None:
    """Train a decoder on cached embeddings.

    Returns:
        The captioner's file, in the first process; None in the others.

    Raises:
        FormatError: a file is not what it should be.
        OSError: a file cannot be read or written.
        ValueError: the parts do not match, or the folder has another run.
    """
    with _start(config) as training:
        encoder = load_encoder(config.encoder, config.weights)
        decoder = ShowAndTell(
            image_width=encoder.width,
            vocabulary_size=len(training.splits.vocabulary),
            **asdict(config.decoder),
        )
        setup = setup_on_embeddings(
            config.embeddings,
            training.splits,
            Embedder(encoder, encoder_name=config.encoder, device=training.processes.device),
            standardize=decoder.standardize if config.standardize else None,
        )
        batches = training.batches(setup, "caption")
        task = _teacher_forcing(config.recipe, len(batches), decoder)
        return training.train(setup, task, batches)


def finetune_captioner(config: CaptionerFinetuning) -> Path | None:
    """Train encoder and decoder of a captioner together, on the images of a folder.

    The captions must give the captioner's vocabulary; else as ``train_captioner``.
    """
    recipe = config.recipe
    with _start(config) as training:
        device = training.processes.device
        captioner = load_single_decoder(config.model, training.splits.vocabulary, device)
        (decoder,) = captioner.decoders
        if recipe.reinitialize_decoder:
            standardization = decoder.image_mean, decoder.image_scale
            decoder = ShowAndTell(**decoder.configuration)
            decoder.image_mean, decoder.image_scale = standardization
        setup = setup_on_images(config.image_dir, training.splits, captioner.embedder)
        batches = training.batches(setup, "image")
        task = _teacher_forcing(recipe, len(batches), decoder, captioner.embedder.encoder)
        return training.train(setup, task, batches, recipe.encoder_learning_rate)


def self_critical_captioner(config: SelfCriticalTraining) -> Path | None:
    """Train the decoder of a captioner on the reward of captions it samples (Rennie et al. 2017).

    The captions must give the captioner's vocabulary; else as ``train_captioner``.
    """
    with _start(config) as training:
        device = training.processes.device
        captioner = load_single_decoder(config.model, training.splits.vocabulary, device)
        setup = setup_on_embeddings(config.embeddings, training.splits, captioner.embedder)
        batches = training.batches(setup, "image")
        reward = caption_reward(batches.captions, bleu_weight=config.recipe.bleu_weight)
        return training.train(setup, CaptionerTask(captioner.decoders[0], reward=reward), batches)


@dataclass(frozen=True)
class _Training:
    """What the three kinds of training share."""

    splits: CaptionSplits
    config: AnyTraining
    processes: Processes
    bfloat16: bool

    def batches(self, setup: TrainingSetup, unit: Unit) -> CaptionBatches:
        encode = self.splits.vocabulary.encode
        return CaptionBatches(
            setup.source,
            [[encode(words(text)) for text in image.captions] for image in self.splits.training],
            batch_size=self.config.recipe.batch_size,
            unit=unit,
            seed=self.config.run.seed,
            rank=self.processes.rank,
            world_size=self.processes.size,
        )

    def train(
        self,
        setup: TrainingSetup,
        task: CaptionerTask,
        batches: CaptionBatches,
        encoder_learning_rate: float = 0.0,
    ) -> Path | None:
        recipe, run, decoder = self.config.recipe, self.config.run, task.decoder
        groups = [(list(decoder.parameters()), recipe.learning_rate)]
        if task.encoder is not None:
            trainable = [p for p in task.encoder.parameters() if p.requires_grad]
            groups.append((trainable, encoder_learning_rate))
        torch.manual_seed(run.seed + 1 + self.processes.rank)  # dropout differs by process
        train(
            task,
            batches,
            optimizer=optimizer(
                recipe.optimizer,
                groups,
                weight_decay=recipe.weight_decay,
                outer=(decoder.image_embedding, decoder.word_embedding, decoder.output),
            ),
            schedule=schedule(
                recipe.schedule,
                steps=recipe.epochs * len(batches),
                warmup_steps=self._warmup_steps(recipe.epochs * len(batches)),
                decay_every=max(1, round(recipe.decay_every * len(batches))),
                decay_factor=recipe.decay_factor,
            ),
            epochs=recipe.epochs,
            checkpoints=CheckpointConfig(
                run.output_dir, run_settings(self.config), run.checkpoint_seconds, run.resume
            ),
            steps=StepConfig(
                self.processes,
                grad_clip=recipe.grad_clip,
                bfloat16=self.bfloat16,
                ema_decay=recipe.ema_decay or None,
            ),
            validation=self._validation(setup),
        )
        return run.output_dir / CAPTIONER_FILE if self.processes.first else None

    def _warmup_steps(self, steps: int) -> int:
        recipe, quiet = self.config.recipe, not self.processes.first
        if not quiet:
            check_staircase(recipe.schedule, recipe.decay_every, epochs=recipe.epochs)
        return round(fitting_warmup(recipe.warmup_steps, _WARMUP_STEPS, length=steps, quiet=quiet))

    def _selection_metric(self) -> SelectionMetric:
        """BLEU-4 by default, but for the loss where there are too few images for it.

        Self-critical training raises BLEU-4 at the cost of the loss.
        """
        images, metric = len(self.splits.development), self.config.recipe.selection_metric
        if self.processes.first:
            warn_of_few(images, "images")
        if metric is None and images < FEW_EXAMPLES:
            metric = "bleu-4" if isinstance(self.config, SelfCriticalTraining) else "loss"
            if self.processes.first:
                _log.info("the best epoch is selected by %s", metric)
        return metric or "bleu-4"

    def _validation(self, setup: TrainingSetup) -> ValidationConfig[CaptionerTask]:
        recipe = self.config.recipe
        search = SearchSettings(num_beams=recipe.num_beams, length_penalty=recipe.length_penalty)

        def captioner_of(task: CaptionerTask, metrics: dict[str, float] | None = None) -> Captioner:
            encoder = task.encoder
            return Captioner(
                setup.embedder.with_encoder(encoder) if encoder is not None else setup.embedder,
                [copy.deepcopy(task.decoder)],
                self.splits.vocabulary,
                search=search,
                training={
                    "settings": run_settings(self.config),
                    "images": len(self.splits.training),
                    "development": metrics or {},
                },
            )

        def captions_of(task: CaptionerTask, vectors: Tensor) -> list[str]:
            captioner, parts = captioner_of(task), torch.split(vectors, _VALIDATION_BATCH)
            return [best.text for part in parts for best, *_ in captioner.describe(part)]

        def save(task: CaptionerTask, result: Validation | None) -> None:
            metrics = result.metrics if result else None
            captioner_of(task, metrics).save(self.config.run.output_dir / CAPTIONER_FILE)

        validate = make_validator(
            captions_of,
            [[words(text) for text in image.captions] for image in self.splits.development],
            setup.development,
            vocabulary=self.splits.vocabulary,
            selection_metric=self._selection_metric(),
        )
        return ValidationConfig(validate, save, recipe.patience)


@contextmanager
def _start(config: AnyTraining) -> Iterator[_Training]:
    """Read the captions, join the process group and seed the initialization."""
    splits, run = read_splits(config.data), config.run
    with process_group(run.device, run.output_dir) as processes:
        torch.manual_seed(run.seed)  # the same initialization in every process
        precision = resolve_precision(run.precision, processes.device)
        if processes.first:
            counts = len(splits.training), len(splits.development), len(splits.vocabulary)
            _log.info("%d training images, %d development images, %d words, %s", *counts, precision)
        yield _Training(splits, config, processes, precision == "bfloat16")


def _teacher_forcing(
    recipe: TeacherForcingRecipe,
    steps_per_epoch: int,
    decoder: ShowAndTell,
    encoder: Network | None = None,
) -> CaptionerTask:
    sampling = sampling_schedule(
        recipe.sampling_decay,
        max_probability=recipe.scheduled_sampling,
        num_steps=recipe.epochs * steps_per_epoch,
    )
    return CaptionerTask(
        decoder, encoder, sampling_schedule=sampling, label_smoothing=recipe.label_smoothing
    )
