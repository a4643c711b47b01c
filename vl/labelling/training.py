"""Training a labeller: DeViSE's projection, ConSE, or both; then the encoder as well.

First the projection alone, on embeddings that an encoder made once; then encoder and projection
together, on images (Frome et al. 2013).
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vl import bundle as bundles
from vl.data.batches import BatchPlan, ImageSource, LabelledBatches, random_view
from vl.data.choices import LabellerMethod
from vl.data.words.label_lists import read_label_file
from vl.data.words.labels import Label
from vl.decoders.devise import Devise
from vl.encoding.embedder import image_file_source
from vl.encoding.finetuning import unfreeze_used_parameters
from vl.labelling.calibration import calibrate
from vl.labelling.embedded_examples import embed_examples, load_embedded_examples
from vl.labelling.examples import read_examples
from vl.labelling.labeller import Labeller
from vl.labelling.labeller_file import Projection
from vl.labelling.recipe import (
    LABELLER_FILE,
    ConseConfig,
    DeviseRecipe,
    EncoderAndProjectionRecipe,
    EncoderConfig,
    LabellerRunConfig,
    LabelSpaceConfig,
    ProjectionRecipe,
    SplitConfig,
)
from vl.labelling.task import LabellerTask
from vl.labelling.training_data import (
    TrainingData,
    load_label_space,
    make_conse,
    prepare_training_data,
    validator,
)
from vl.training.loop import CheckpointConfig, StepConfig, ValidationConfig, train
from vl.training.optimizers import optimizer, schedule
from vl.training.parallel import Processes, process_group

_log = logging.getLogger(__name__)
# The best epoch's weights; a finished run needs them again if it is resumed.
_BEST_FILE, _BEST_KIND = "best.safetensors", "labeller training"


def train_labeller(
    images: Sequence[Path],
    method: LabellerMethod,
    *,
    encoder: EncoderConfig,
    space: LabelSpaceConfig,
    split: SplitConfig,
    conse: ConseConfig,
    recipe: ProjectionRecipe,
    run: LabellerRunConfig,
) -> Path | None:
    """Train a labeller on the embeddings of a fixed encoder.

    Args:
        images: folders of classes and lists; see ``read_examples``.
        method: DeViSE's projection, ConSE's mix of training labels, or the mean of both.
        encoder: the encoder, and cached embeddings if there are.
        space: word vectors, and what is made of them.
        split: which labels are trained on.
        conse: of ConSE.
        recipe: of DeViSE's optimization.
        run: where and how it runs.

    Returns:
        The labeller's file; None in processes other than the first.

    Raises:
        ValueError: the run's folder is in use, or data, labels and encoder do not match.
        FormatError: a file is not what it should be.
        OSError: a file cannot be read.
    """
    _check_output_dir(run, checkpoints=method != "conse")
    settings = _settings(images, run, encoder, space, split, conse, recipe, method=method)
    with _processes(run) as processes:
        labels = load_label_space(space, seed=run.seed)
        lemmas = None if labels.wordnet is None else labels.wordnet.lemmas()
        embedded = load_embedded_examples(
            images, encoder, lemmas=lemmas, device=processes.device, quiet=not processes.first
        )
        if split.held_out:
            embedded = embedded.without(read_label_file(split.held_out, lemmas=lemmas))
        data = prepare_training_data(
            embedded,
            labels,
            development_share=split.development_share,
            subtract_mean=space.subtract_mean,
            seed=run.seed,
        )
        projections: dict[str, Projection] = {}
        if method != "devise":
            with torch.random.fork_rng(devices=[]):  # the projection is initialized as without
                projections["conse"] = make_conse(data, conse.classes, top_k=conse.top_k)
        if method != "conse":
            devise = Devise(image_width=data.embedded.vectors.shape[2], width=data.space.width)
            if recipe.standardize:
                training_vectors = data.embedded.vectors[list(data.split.training_rows)]
                devise.standardize(training_vectors.flatten(0, 1))
            source = random_view(data.embedded.vectors[list(data.split.training_rows)])
            task = LabellerTask(devise, data.label_vectors, loss=recipe.loss, margin=recipe.margin)
            groups = [(list(devise.parameters()), recipe.learning_rate)]
            _optimize(
                task,
                data,
                source,
                groups,
                recipe=recipe,
                run=run,
                settings=settings,
                processes=processes,
            )
            projections["devise"] = devise
        if processes.first:
            labeller = _assemble(data, projections, settings, encoder_changed=False)
            labeller.save(run.output_dir / LABELLER_FILE)
    return run.output_dir / LABELLER_FILE if processes.first else None


def finetune_labeller(
    images: Sequence[Path],
    model: Path,
    *,
    split: SplitConfig,
    recipe: EncoderAndProjectionRecipe,
    run: LabellerRunConfig,
) -> Path | None:
    """Train the encoder and the projection of a labeller together, on images.

    Args:
        images: folders of classes and lists; see ``read_examples``.
        model: the labeller's file; ConSE, which is of another encoder then, is left out.
        split: which labels are trained on; none that the labeller was trained on may validate.
        recipe: of the optimization.
        run: where and how it runs.

    Returns:
        The fine-tuned labeller's file; None in processes other than the first.

    Raises:
        ValueError: the run's folder is in use, the labeller has no DeViSE projection, or data and
            labels do not match.
        FormatError: a file is not what it should be.
        OSError: a file cannot be read.
    """
    _check_output_dir(run, checkpoints=True)
    settings = _settings(images, run, split, recipe, model=model)
    with _processes(run) as processes:
        start = Labeller.load(model, device=processes.device)
        devise = start.projections.get("devise")
        if not isinstance(devise, Devise):
            raise ValueError(f"{model} has no DeViSE projection to fine-tune")
        if "conse" in start.projections:
            _log.warning("ConSE of %s is left out: it belongs to the encoder before", model)
        lemmas = None if start.space.wordnet is None else start.space.wordnet.lemmas()
        examples = read_examples(images, lemmas=lemmas)
        embedded = embed_examples(examples, start.embedder, quiet=not processes.first)
        encoder = start.embedder.encoder
        unfreeze_used_parameters(encoder)
        if split.held_out:
            embedded = embedded.without(read_label_file(split.held_out, lemmas=lemmas))
        data = prepare_training_data(
            embedded, start.space, development_share=split.development_share, seed=run.seed
        )
        if repeated := [label.text for label in data.development_labels if label in start.seen]:
            raise ValueError(
                f"{len(repeated)} labels of the development split were trained on before, as "
                f"{repeated[0]!r}: use the same images, --held-out, --development-share and --seed"
            )
        source = image_file_source(
            [data.embedded.examples.paths[row] for row in data.split.training_rows],
            image_size=encoder.image_size,
            resize=start.embedder.resize,
            views=start.embedder.views,
        )
        task = LabellerTask(
            devise, data.label_vectors, loss=recipe.loss, margin=recipe.margin, encoder=encoder
        )
        groups = [
            (list(devise.parameters()), recipe.learning_rate),
            ([p for p in encoder.parameters() if p.requires_grad], recipe.encoder_learning_rate),
        ]
        _optimize(
            task,
            data,
            source,
            groups,
            recipe=recipe,
            run=run,
            settings=settings,
            processes=processes,
        )
        if processes.first:
            labeller = _assemble(
                data, {"devise": devise}, settings, seen=start.seen, encoder_changed=True
            )
            labeller.save(run.output_dir / LABELLER_FILE)
    return run.output_dir / LABELLER_FILE if processes.first else None


def _check_output_dir(run: LabellerRunConfig, *, checkpoints: bool) -> None:
    """Refuse a folder that is in use, before anything is read."""
    if checkpoints and (run.output_dir / "state.pt").exists() and not run.resume:
        raise ValueError(
            f"{run.output_dir} already contains a run; continue it with --resume, or choose "
            "another folder"
        )
    if not checkpoints and (run.output_dir / LABELLER_FILE).exists():
        raise ValueError(f"{run.output_dir} contains a labeller; choose another folder")


def _settings(
    images: Sequence[Path], run: LabellerRunConfig, *configs: object, **settings: object
) -> dict[str, Any]:
    """The settings of a run, which resuming must not change, as JSON has them."""
    settings |= {"seed": run.seed, "precision": run.precision, "device": run.device}
    for config in configs:
        settings |= vars(config)
    return {
        "images": [str(path) for path in images],
        **{key: str(v) if isinstance(v, Path) else v for key, v in settings.items()},
    }


@contextmanager
def _processes(run: LabellerRunConfig) -> Iterator[Processes]:
    """The processes of a run, with the same initial weights; only the first logs."""
    logger = logging.getLogger("vl")
    level = logger.level
    with process_group(run.device) as processes:
        torch.manual_seed(run.seed)
        if not processes.first:
            logger.setLevel(logging.ERROR)
        try:
            yield processes
        finally:
            logger.setLevel(level)


def _optimize(
    task: LabellerTask,
    data: TrainingData,
    source: ImageSource,
    groups: list[tuple[list[nn.Parameter], float]],
    *,
    recipe: DeviseRecipe,
    run: LabellerRunConfig,
    settings: dict[str, Any],
    processes: Processes,
) -> None:
    """Train to the last epoch, and load the best one's weights into the task."""
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
    result = train(
        task,
        batches,
        optimizer=optimizer(recipe.optimizer, groups, weight_decay=recipe.weight_decay),
        schedule=schedule(
            recipe.schedule, steps=recipe.epochs * len(batches), decay_every=len(batches)
        ),
        epochs=recipe.epochs,
        checkpoints=CheckpointConfig(run.output_dir, settings, resume=run.resume),
        steps=StepConfig(
            processes,
            grad_clip=math.inf,  # none in the paper
            bfloat16=run.precision == "bfloat16",
        ),
        validation=ValidationConfig(
            validator(data, processes.device),
            lambda task, _: bundles.write(
                best, kind=_BEST_KIND, configuration={}, modules={"task": task}
            ),
            recipe.patience,
        ),
    )
    if not processes.first:
        return
    if result.best:
        metrics = "  ".join(f"{name} {value:.1f}" for name, value in result.best.metrics.items())
        _log.info("best of %d epochs: %d  %s", result.epochs, result.best_epoch, metrics)
    bundles.fill(bundles.read(best, kind=_BEST_KIND), "task", task)


def _assemble(
    data: TrainingData,
    projections: dict[str, Projection],
    settings: dict[str, Any],
    *,
    encoder_changed: bool,
    seen: Sequence[Label] = (),
) -> Labeller:
    """A labeller, calibrated on the development split.

    Args:
        data: labels and images.
        projections: trained.
        settings: of the run, for the reader.
        encoder_changed: whether the data's embeddings are of the encoder before.
        seen: labels that were trained on before.
    """
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
            "settings": settings,
            "views": list(embedder.views),
            "resize": embedder.resize,
            "images": len(split.training_rows),
            "labels": len(split.training),
        },
    )
    rows = [*split.seen_rows, *split.unseen_rows]
    if not split.unseen_rows:
        return labeller
    vectors = vectors[rows]
    if encoder_changed:
        vectors = embed_examples(examples.select(rows), embedder, quiet=True).vectors
    labels = [*split.training, *split.development]
    labeller.calibration = calibrate(
        labeller.project(vectors.mean(1)).cpu(),
        torch.tensor(data.targets(rows, labels)),
        data.vectors[labels],
        torch.arange(len(labels)) < len(split.training),
    )
    return labeller
