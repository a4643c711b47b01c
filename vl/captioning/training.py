"""Training of a captioner: the decoder alone, encoder and decoder together, or self-critical."""

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from vl.captioning.captioner import Captioner
from vl.captioning.recipe import (
    CAPTIONER_FILE,
    CaptionerRecipe,
    CaptionerRunConfig,
    CaptionFiles,
    DecoderConfig,
    FinetuningRecipe,
    SelfCriticalRecipe,
    TeacherForcingRecipe,
)
from vl.captioning.reward import CaptionReward
from vl.captioning.search import SearchSettings
from vl.captioning.setup import (
    CaptionSplits,
    TrainingSetup,
    load_single_decoder,
    read_splits,
    setup_on_embeddings,
    setup_on_images,
)
from vl.captioning.task import CaptionerTask, indices_only, make_validator
from vl.data.batches import CaptionBatches, Unit
from vl.data.captions.ptb.tokens import words
from vl.decoders.scheduled_sampling import SamplingSchedule, sampling_schedule
from vl.decoders.show_and_tell import ShowAndTell
from vl.devices import resolve_precision
from vl.encoding.pretrained import load_encoder
from vl.training.loop import (
    CheckpointConfig,
    StepConfig,
    TrainingResult,
    Validation,
    ValidationConfig,
    train,
)
from vl.training.optimizers import optimizer, schedule
from vl.training.parallel import Processes, process_group

_log = logging.getLogger(__name__)


def train_captioner(
    files: CaptionFiles,
    embeddings: Path,
    *,
    encoder: str,
    weights: Path | None,
    decoder: DecoderConfig,
    recipe: TeacherForcingRecipe,
    run: CaptionerRunConfig,
) -> TrainingResult | None:
    """Train a decoder on cached embeddings; the captioner is saved in the run's folder.

    Args:
        files: captions of both splits.
        embeddings: of all images of both splits, by `vl embed`.
        encoder: name of the encoder that made them; it goes into the captioner.
        weights: of the encoder, see ``load_encoder``.
        decoder: configuration of the untrained decoder.
        recipe: optimization and validation.
        run: folder, device, precision, seed.

    Returns:
        How the training ended, in the first process; None in the others.

    Raises:
        FormatError: a file is not what it should be.
        OSError: a file cannot be read or written.
        ValueError: the parts do not match, or the folder has another run.
    """
    settings = _settings(
        files, decoder, recipe, run, embeddings=embeddings, encoder=encoder, weights=weights
    )
    with _start(files, recipe, run, settings) as training:
        network = load_encoder(encoder, weights)
        untrained = ShowAndTell(
            image_width=network.width,
            vocabulary_size=len(training.splits.vocabulary),
            embedding_size=decoder.embedding_size,
            hidden_size=decoder.hidden_size,
            cell=decoder.cell,
            dropout=decoder.dropout,
            tie_word_embeddings=decoder.tie_word_embeddings,
        )
        setup = setup_on_embeddings(
            embeddings,
            training.splits,
            encoder=network,
            encoder_name=encoder,
            decoder=untrained,
            standardize=decoder.standardize,
            device=training.processes.device,
        )
        batches = training.batches(setup, "caption")
        task = CaptionerTask(
            untrained,
            sampling_schedule=_sampling(recipe, len(batches)),
            label_smoothing=recipe.label_smoothing,
        )
        return training.train(setup, task, batches)


def finetune_captioner(
    files: CaptionFiles,
    image_dir: Path,
    *,
    model: Path,
    recipe: FinetuningRecipe,
    run: CaptionerRunConfig,
) -> TrainingResult | None:
    """Train encoder and decoder of a captioner together, on the images of a folder.

    The captions must give the captioner's vocabulary; else as ``train_captioner``.
    """
    settings = _settings(files, recipe, run, image_dir=image_dir, model=model)
    with _start(files, recipe, run, settings) as training:
        vocabulary, device = training.splits.vocabulary, training.processes.device
        captioner = load_single_decoder(model, vocabulary, device)
        (decoder,) = captioner.decoders
        if recipe.reinitialize_decoder:
            standardization = decoder.image_mean, decoder.image_scale
            decoder = ShowAndTell(**decoder.configuration)
            decoder.image_mean, decoder.image_scale = standardization
        setup = setup_on_images(
            image_dir, training.splits, embedder=captioner.embedder, decoder=decoder
        )
        batches = training.batches(setup, "image")
        task = CaptionerTask(
            decoder,
            captioner.embedder.encoder,
            sampling_schedule=_sampling(recipe, len(batches)),
            label_smoothing=recipe.label_smoothing,
        )
        return training.train(setup, task, batches, recipe.encoder_learning_rate)


def self_critical_captioner(
    files: CaptionFiles,
    embeddings: Path,
    *,
    model: Path,
    recipe: SelfCriticalRecipe,
    run: CaptionerRunConfig,
) -> TrainingResult | None:
    """Train the decoder of a captioner on the reward of captions it samples (Rennie et al. 2017).

    The captions must give the captioner's vocabulary; else as ``train_captioner``.
    """
    settings = _settings(files, recipe, run, embeddings=embeddings, model=model)
    with _start(files, recipe, run, settings) as training:
        vocabulary, device = training.splits.vocabulary, training.processes.device
        captioner = load_single_decoder(model, vocabulary, device)
        setup = setup_on_embeddings(
            embeddings,
            training.splits,
            encoder=captioner.embedder.encoder,
            encoder_name=captioner.embedder.encoder_name,
            decoder=captioner.decoders[0],
            standardize=False,  # its buffers have the standardization of its first training
            device=device,
        )
        batches = training.batches(setup, "image")
        reward = CaptionReward(batches.captions, bleu_weight=recipe.bleu_weight)
        return training.train(setup, CaptionerTask(setup.decoder, reward=reward), batches)


@dataclass(frozen=True)
class _Training:
    """What the three kinds of training share."""

    splits: CaptionSplits
    recipe: CaptionerRecipe
    run: CaptionerRunConfig
    settings: dict[str, Any]
    processes: Processes
    bfloat16: bool

    def batches(self, setup: TrainingSetup, unit: Unit) -> CaptionBatches:
        return CaptionBatches(
            setup.source,
            self.splits.encode(self.splits.training),
            batch_size=self.recipe.batch_size,
            unit=unit,
            seed=self.run.seed,
            rank=self.processes.rank,
            world_size=self.processes.size,
        )

    def train(
        self,
        setup: TrainingSetup,
        task: CaptionerTask,
        batches: CaptionBatches,
        encoder_learning_rate: float = 0.0,
    ) -> TrainingResult | None:
        recipe = self.recipe
        groups = [(list(task.decoder.parameters()), recipe.learning_rate)]
        if task.encoder is not None:
            trainable = [p for p in task.encoder.parameters() if p.requires_grad]
            groups.append((trainable, encoder_learning_rate))
        decoder = task.decoder
        torch.manual_seed(self.run.seed + 1 + self.processes.rank)  # dropout differs by process
        result = train(
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
                warmup_steps=recipe.warmup_steps,
                decay_every=max(1, round(recipe.decay_every * len(batches))),
                decay_factor=recipe.decay_factor,
            ),
            epochs=recipe.epochs,
            checkpoints=CheckpointConfig(
                self.run.output_dir, self.settings, self.run.checkpoint_seconds, self.run.resume
            ),
            steps=StepConfig(
                self.processes,
                grad_clip=recipe.grad_clip,
                bfloat16=self.bfloat16,
                ema_decay=recipe.ema_decay or None,
            ),
            validation=self._validation(setup),
        )
        if self.processes.first and result.best:
            metrics = "  ".join(
                f"{name} {value:.4g}" for name, value in result.best.metrics.items()
            )
            _log.info("best of %d epochs: %d  %s", result.epochs, result.best_epoch, metrics)
        return result if self.processes.first else None

    def _validation(self, setup: TrainingSetup) -> ValidationConfig[CaptionerTask]:
        development, recipe = self.splits.development, self.recipe
        search = SearchSettings(num_beams=recipe.num_beams, length_penalty=recipe.length_penalty)

        def captioner_of(task: CaptionerTask, metrics: dict[str, float] | None = None) -> Captioner:
            encoder = task.encoder
            return Captioner(
                setup.embedder.with_encoder(encoder) if encoder is not None else setup.embedder,
                [copy.deepcopy(task.decoder)],
                self.splits.vocabulary,
                search=search,
                training={
                    "settings": self.settings,
                    "images": len(self.splits.training),
                    "development": metrics or {},
                },
            )

        def save(task: CaptionerTask, result: Validation | None) -> None:
            metrics = result.metrics if result else None
            captioner_of(task, metrics).save(self.run.output_dir / CAPTIONER_FILE)

        validate = make_validator(
            captioner_of,
            CaptionBatches(
                indices_only, self.splits.encode(development), batch_size=512, seed=None
            ),
            [[words(caption) for caption in image.captions] for image in development],
            setup.development,
            selection_metric=recipe.selection_metric,
        )
        return ValidationConfig(validate, save, recipe.patience)


@contextmanager
def _start(
    files: CaptionFiles, recipe: CaptionerRecipe, run: CaptionerRunConfig, settings: dict[str, Any]
) -> Iterator[_Training]:
    """Read the captions, join the process group and seed the initialization."""
    splits = read_splits(files)
    with process_group(run.device) as processes:
        torch.manual_seed(run.seed)  # the same initialization in every process
        precision = resolve_precision(run.precision, processes.device)
        if processes.first:
            _log.info(
                "%d training images, %d development images, %d words, %s",
                len(splits.training),
                len(splits.development),
                len(splits.vocabulary),
                precision,
            )
        yield _Training(splits, recipe, run, settings, processes, precision == "bfloat16")


def _sampling(recipe: TeacherForcingRecipe, steps_per_epoch: int) -> SamplingSchedule | None:
    if not recipe.scheduled_sampling:
        return None
    return sampling_schedule(
        recipe.sampling_decay,
        max_probability=recipe.scheduled_sampling,
        num_steps=recipe.epochs * steps_per_epoch,
    )


def _settings(
    *configs: CaptionFiles | DecoderConfig | CaptionerRecipe | CaptionerRunConfig, **sources: object
) -> dict[str, Any]:
    """What a resumed run must have in common with its start, as JSON-able values."""
    settings = {**sources}
    for config in configs:
        settings |= asdict(config)
    for name in ("output_dir", "resume", "checkpoint_seconds"):
        del settings[name]
    return {
        key: str(value) if isinstance(value, Path) else value for key, value in settings.items()
    }
