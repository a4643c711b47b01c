"""Training a labeller: DeViSE's projection, ConSE, or both; then the encoder as well.

First the projection alone, on embeddings that an encoder made once; then encoder and projection
together, on images (Frome et al. 2013).
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from vl import bundle as bundles
from vl.data.batches import BatchPlan, ImageSource, LabelledBatches, random_view
from vl.data.words.labels import Label
from vl.decoders.devise import Devise
from vl.encoding.embedder import image_file_source
from vl.encoding.pretrained import unfreeze_used_parameters
from vl.labelling.calibration import calibrate
from vl.labelling.examples import embed_examples, load_embedder, load_examples
from vl.labelling.labeller import Labeller
from vl.labelling.labeller_file import Projection
from vl.labelling.recipe import (
    LABELLER_FILE,
    LabellerFinetuning,
    LabellerRunConfig,
    LabellerTraining,
)
from vl.labelling.task import LabellerTask, make_validator
from vl.labelling.training_data import (
    TrainingData,
    load_label_space,
    make_conse,
    prepare_training_data,
)
from vl.training.checkpoint import run_settings
from vl.training.loop import CheckpointConfig, StepConfig, ValidationConfig, train
from vl.training.optimizers import optimizer, schedule
from vl.training.parallel import Processes, process_group

_log = logging.getLogger(__name__)
# The best epoch's weights; a finished run needs them again if it is resumed.
_BEST_FILE, _BEST_KIND = "best.safetensors", "labeller training"


def train_labeller(config: LabellerTraining) -> Path | None:
    """Train a labeller on the embeddings of a fixed encoder.

    Returns:
        The labeller's file; None in processes other than the first.

    Raises:
        ValueError: the run's folder is in use, or data, labels and encoder do not match.
        FormatError: a file is not what it should be.
        OSError: a file cannot be read.
    """
    _check_output_dir(config.run, checkpoints=config.method != "conse")
    with _processes(config.run) as processes:
        space = load_label_space(config.space, seed=config.run.seed)
        embedded = load_examples(
            load_embedder(config.encoder, device=processes.device),
            config.images,
            config.encoder.embeddings,
            lemmas=None if space.wordnet is None else space.wordnet.lemmas(),
            quiet=not processes.first,
        )
        data = prepare_training_data(
            embedded,
            space,
            config.split,
            subtract_mean=config.space.subtract_mean,
            seed=config.run.seed,
        )
        projections: dict[str, Projection] = {}
        if config.method != "devise":
            with torch.random.fork_rng(devices=[]):  # the projection is initialized as without
                projections["conse"] = make_conse(data, config.conse, config.split)
        if config.method != "conse":
            vectors = data.embedded.vectors[list(data.split.training_rows)]
            devise = Devise(image_width=vectors.shape[2], width=data.space.width)
            if config.recipe.standardize:
                devise.standardize(vectors.flatten(0, 1))
            _optimize(config, devise, data, random_view(vectors), processes)
            projections["devise"] = devise
        return _save(config, data, projections) if processes.first else None


def finetune_labeller(config: LabellerFinetuning) -> Path | None:
    """Train the encoder and the projection of a labeller together, on images.

    ConSE is left out, as it belongs to the encoder before; no label that the labeller was trained
    on may validate.

    Returns:
        The fine-tuned labeller's file; None in processes other than the first.

    Raises:
        ValueError: the run's folder is in use, the labeller has no DeViSE projection, or data and
            labels do not match.
        FormatError: a file is not what it should be.
        OSError: a file cannot be read.
    """
    _check_output_dir(config.run, checkpoints=True)
    with _processes(config.run) as processes:
        start = Labeller.load(config.model, device=processes.device)
        devise = start.projections.get("devise")
        if not isinstance(devise, Devise):
            raise ValueError(f"{config.model} has no DeViSE projection to fine-tune")
        if "conse" in start.projections:
            _log.warning("ConSE of %s is left out: it belongs to the encoder before", config.model)
        embedded = load_examples(
            start.embedder,
            config.images,
            None,
            lemmas=None if start.space.wordnet is None else start.space.wordnet.lemmas(),
            quiet=not processes.first,
        )
        encoder = start.embedder.encoder
        unfreeze_used_parameters(encoder)
        data = prepare_training_data(embedded, start.space, config.split, seed=config.run.seed)
        if repeated := [label.text for label in data.development_labels if label in start.seen]:
            raise ValueError(
                f"{len(repeated)} labels of the development split were trained on before, as "
                f"{repeated[0]!r}: use the same images, --held-out, --development-share and --seed"
            )
        source = image_file_source(
            [data.embedded.examples.paths[row] for row in data.split.training_rows],
            preprocess=start.embedder.preprocess,
            views=start.embedder.views,
        )
        _optimize(config, devise, data, source, processes)
        return _save(config, data, {"devise": devise}, seen=start.seen) if processes.first else None


def _check_output_dir(run: LabellerRunConfig, *, checkpoints: bool) -> None:
    """Refuse a folder that is in use, before anything is read."""
    path = run.output_dir / ("state.pt" if checkpoints else LABELLER_FILE)
    if path.exists() and not (checkpoints and run.resume):
        remedy = "continue the run with --resume, or " if checkpoints else ""
        raise ValueError(f"{path} exists already; {remedy}choose another folder")


@contextmanager
def _processes(run: LabellerRunConfig) -> Iterator[Processes]:
    """The processes of a run, with the same initial weights; only the first logs."""
    logger = logging.getLogger("vl")
    level = logger.level
    with process_group(run.device, run.output_dir) as processes:
        torch.manual_seed(run.seed)
        if not processes.first:
            logger.setLevel(logging.ERROR)
        try:
            yield processes
        finally:
            logger.setLevel(level)


def _optimize(
    config: LabellerTraining | LabellerFinetuning,
    devise: Devise,
    data: TrainingData,
    source: ImageSource,
    processes: Processes,
) -> None:
    """Train to the last epoch, and load the best one's weights."""
    recipe, run = config.recipe, config.run
    groups = [(list(devise.parameters()), recipe.learning_rate)]
    encoder = None
    if isinstance(config, LabellerFinetuning):
        encoder = data.embedded.embedder.encoder
        trainable = [part for part in encoder.parameters() if part.requires_grad]
        groups.append((trainable, config.recipe.encoder_learning_rate))
    task = LabellerTask(
        devise, data.label_vectors, loss=recipe.loss, margin=recipe.margin, encoder=encoder
    )
    labels = data.targets(data.split.training_rows, data.split.training)
    plan = BatchPlan(
        len(labels),
        batch_size=recipe.batch_size,
        seed=run.seed,
        rank=processes.rank,
        world_size=processes.size,
        unit_name="images",
    )
    batches = LabelledBatches(source, labels, plan)
    best = run.output_dir / _BEST_FILE
    task.to(processes.device)  # before the optimizer: Adagrad has its sums where the weights are
    torch.manual_seed(run.seed + 1 + processes.rank)  # another order of labels in each process
    train(
        task,
        batches,
        optimizer=optimizer(recipe.optimizer, groups, weight_decay=recipe.weight_decay),
        schedule=schedule(
            recipe.schedule, steps=recipe.epochs * len(batches), decay_every=len(batches)
        ),
        epochs=recipe.epochs,
        checkpoints=CheckpointConfig(run.output_dir, run_settings(config), resume=run.resume),
        steps=StepConfig(
            processes,
            grad_clip=math.inf,  # none in the paper
            bfloat16=run.precision == "bfloat16",
        ),
        validation=ValidationConfig(
            make_validator(data, processes.device, margin=recipe.margin),
            lambda task, _: bundles.write(
                best, kind=_BEST_KIND, configuration={}, modules={"task": task}
            ),
            recipe.patience,
        ),
    )
    if processes.first:
        bundles.fill(bundles.read(best, kind=_BEST_KIND), "task", task)


def _save(
    config: LabellerTraining | LabellerFinetuning,
    data: TrainingData,
    projections: dict[str, Projection],
    *,
    seen: Sequence[Label] = (),
) -> Path:
    """Write the labeller, calibrated on the development split; ``seen`` was trained on before."""
    embedder, examples, vectors, _ = data.embedded
    split = data.split
    embedder.encoder.requires_grad_(False)
    labeller = Labeller(
        embedder,
        projections,
        data.space,
        seen=list(dict.fromkeys([*seen, *data.training_labels])),
        development=data.development_labels,
        training={
            "settings": run_settings(config),
            "views": list(embedder.views),
            "resize": embedder.resize,
            "images": len(split.training_rows),
            "labels": len(split.training),
        },
    )
    if split.unseen_rows:
        rows = [*split.seen_rows, *split.unseen_rows]
        vectors = vectors[rows]
        if isinstance(config, LabellerFinetuning):  # they are of the encoder before
            vectors = embed_examples(examples.select(rows), embedder, quiet=True).vectors
        labels = [*split.training, *split.development]
        labeller.calibration = calibrate(
            labeller.project(vectors.mean(1)).cpu(),
            torch.tensor(data.targets(rows, labels)),
            data.vectors[labels],
            torch.arange(len(labels)) < len(split.training),
        )
    path = config.run.output_dir / LABELLER_FILE
    labeller.save(path)
    return path
