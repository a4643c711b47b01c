"""`vl train labeller`: labelled photographs and word vectors to a labeller."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from vl import bundle
from vl.commands.bounds import (
    HeldOutFraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from vl.commands.options import DeviceOptions
from vl.data.batches import ImageSource, LabelledBatches, random_view
from vl.data.choices import Resize, Schedule
from vl.data.words.label_lists import read_label_file
from vl.data.words.label_space import LabelSpace, Synonyms
from vl.data.words.vectors import WordVectors
from vl.data.words.wordnet import WordNet
from vl.decoders.devise import Devise
from vl.encoding.embedder import image_file_source
from vl.labelling.labeller import Labeller
from vl.labelling.labeller_file import Projection, as_stored
from vl.labelling.setup import Phase, from_labeller, on_embeddings, on_photographs
from vl.labelling.task import Task, conse_of, held_out, judge, labeller_of, randomised, task_of
from vl.labelling.training import LabellerTask, LossName
from vl.training.loop import CheckpointConfig, StepConfig, ValidationConfig, train
from vl.training.optimizers import optimizer, schedule
from vl.training.parallel import Processes, process_group

_log = logging.getLogger(__name__)
BUNDLE = "labeller.safetensors"
Method = Literal["devise", "conse", "both"]
WordsOf = Mapping[str, Sequence[str]]
# The best map so far; a run that is over wants it again if it is resumed.
_BEST, _BEST_KIND = "best.safetensors", "devise training"
# What the labeller of phase 1 has settled.
_OF_PHASE_1 = (
    *("words", "embeddings", "weights", "encoder", "views", "resize", "wordnet", "kinds"),
    *("synonyms", "centre", "limit_words", "random_words", "shown", "method", "classes"),
)
# What is for the map alone.
_OF_DEVISE = (
    *("loss", "margin", "shown", "optimizer", "rate", "schedule", "weight_decay", "epochs"),
    *("batch_size", "patience", "precision"),
)


@dataclass(frozen=True)
class DeviseRun(DeviceOptions):
    """Train a labeller: a projection of photographs into the space of words."""

    photographs: tyro.conf.Positional[list[Path]]
    """Folders with a folder for each class, and lists of a photograph, a tab and its class."""
    out: Path
    """The run's folder: labeller.safetensors, log.jsonl, the checkpoint."""
    words: Path | None = None
    """Word vectors: word2vec's formats, or GloVe's; see `vl train words`."""
    embeddings: Path | None = None
    """What `vl embed` made of the photographs, if it did; otherwise they are encoded first."""
    weights: Path | None = None
    """The encoder's weights: BVLC's blobs, a captioner or a labeller; torchvision's are fetched."""
    encoder: str = "inception_v1"
    """The encoder's name."""
    views: Annotated[tuple[str, ...], tyro.conf.arg(metavar="VIEW ...")] = ("plain", "flip")
    """What of each photograph is encoded where there are no embeddings yet; see `vl embed`."""
    resize: Resize = "center-crop"
    """How a photograph becomes a square where there are no embeddings yet."""
    wordnet: Path | None = None
    """A folder with WordNet's words.txt and is_a.txt, or nltk for NLTK's WordNet: for classes that
    are WordNet's ids, and for --kinds."""
    kinds: float = 0.0
    """How much of a label's place is that of what it is a kind of, from 0 to 1; needs --wordnet."""
    synonyms: Synonyms = "first"
    """A label's place is that of its first synonym with a vector, or the mean of all."""
    centre: bool = False
    """Take the mean of the training labels' places off every label's."""
    limit_words: int | None = None
    """Keep only so many words, the most frequent; the labeller's file holds all that are kept."""
    random_words: bool = False
    """Random vectors in place of the words' own, by --seed: what the words bring, as a control."""
    held_out: Path | None = None
    """Labels, one a line, whose photographs are not trained on wherever they are."""
    method: Method = "devise"
    """The trained map; the mix of known labels (ConSE); or the mean of both."""
    classes: Path | None = None
    """For ConSE: what the encoder's own classifier tells apart, a label a line, in its order."""
    top: PositiveInt = 10
    """Labels that ConSE mixes (Norouzi et al. 2014)."""
    loss: LossName = "first"
    """The first violation met, in random order, as published; or the sum of all."""
    margin: NonNegativeFloat = 0.1
    """Least lead of the right label, in dot product (Frome et al. 2013)."""
    shown: Literal["raw", "standardised"] = "standardised"
    """Embeddings as they are, as published, or less their mean and in units of their deviation."""
    optimizer: Literal["adagrad", "adam", "sgd"] = "adagrad"
    """Adagrad in the paper."""
    rate: PositiveFloat = 0.01
    """Learning rate at first."""
    schedule: Schedule = "constant"
    """How the rate changes: constant, staircase, cosine."""
    weight_decay: NonNegativeFloat = 0.0
    """L2; decoupled with adam."""
    epochs: PositiveInt = 30
    """Times each photograph is seen."""
    batch_size: PositiveInt = 64
    """Photographs in a step, over all processes."""
    patience: PositiveInt = 5
    """Epochs without a better judgement after which training stops."""
    development: HeldOutFraction = 0.1
    """Share of the labels that is put aside to judge and to calibrate by; 0 for neither."""
    finetune_encoder: bool = False
    """Phase 2: train the encoder too, on the photographs, from the labeller of --start."""
    start: Path | None = None
    """The labeller that phase 1 made."""
    encoder_rate: PositiveFloat = 1e-4
    """Learning rate of the encoder in phase 2."""
    seed: NonNegativeInt = 0
    """Of the first weights, the labels put aside, and the order."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the training's arithmetic."""
    resume: bool = False
    """Go on with the run in the folder."""


def run(flags: DeviseRun) -> int:
    """Train."""
    _check(flags)
    with process_group(flags.device) as processes:
        torch.manual_seed(flags.seed)  # the same first weights in every process
        start = Labeller.load(flags.start, device=processes.device) if flags.start else None
        if start is not None:
            _check_start(flags, start, quiet=not processes.first)
        task = _task(flags, start, processes)
        if start is not None:
            _check_split(task, start)
        projections: dict[str, Projection] = {}
        if flags.method != "devise":  # first, as it is quick to say what is wrong with its classes
            with torch.random.fork_rng(devices=[]):  # the map begins as it does without ConSE
                projections["conse"] = conse_of(task, flags.classes, top=flags.top)
        if flags.method != "conse":
            projections["devise"] = _devise(flags, task, start, processes)
        if processes.first:
            labeller = labeller_of(
                task,
                projections,
                settings=_settings(flags),
                tuned=start is not None,
                seen=() if start is None else start.seen,
            )
            labeller.save(flags.out / BUNDLE)
            print(flags.out / BUNDLE)
    return 0


def _task(flags: DeviseRun, start: Labeller | None, processes: Processes) -> Task:
    """The labels, their places, and the photographs."""
    if start is not None:
        space, wordnet = start.space, start.space.wordnet
    else:
        wordnet = None
        if flags.wordnet:
            wordnet = WordNet.load(flags.wordnet)
        assert flags.words is not None  # _check
        words = WordVectors.load(flags.words, limit=flags.limit_words)
        if flags.random_words:
            words = randomised(words, flags.seed)
        words = as_stored(words)
        space = LabelSpace(words, wordnet, synonyms=flags.synonyms, hypernym_weight=flags.kinds)
    names = None if wordnet is None else wordnet.lemmas()
    phase = _phase(flags, start, names, processes)
    quiet = not processes.first
    if flags.held_out:
        phase = held_out(phase, read_label_file(flags.held_out, lemmas=names), quiet=quiet)
    return task_of(
        phase,
        space,
        development=flags.development,
        centre=flags.centre,
        seed=flags.seed,
        quiet=quiet,
    )


def _phase(
    flags: DeviseRun, start: Labeller | None, names: WordsOf | None, processes: Processes
) -> Phase:
    quiet = not processes.first
    if start is not None:
        return from_labeller(flags.photographs, start, names=names, quiet=quiet)
    if flags.embeddings:
        return on_embeddings(
            flags.photographs,
            flags.embeddings,
            encoder=flags.encoder,
            weights=flags.weights,
            names=names,
        )
    return on_photographs(
        flags.photographs,
        encoder=flags.encoder,
        weights=flags.weights,
        names=names,
        views=flags.views,
        resize=flags.resize,
        device=processes.device,
        quiet=quiet,
    )


def _devise(flags: DeviseRun, task: Task, start: Labeller | None, processes: Processes) -> Devise:
    """The map, trained."""
    phase, parts = task.phase, task.parts
    tuned = start is not None
    if start is not None:
        devise = start.projections["devise"]
        assert isinstance(devise, Devise)  # _check_start
    else:
        devise = Devise(image_width=phase.vectors.shape[2], width=task.space.width)
        if flags.shown == "standardised":
            devise.standardize(phase.vectors[list(parts.training_rows)].flatten(0, 1))
    rows = list(parts.training_rows)
    source: ImageSource = random_view(phase.vectors[rows])
    if tuned:
        paths = [phase.examples.paths[row] for row in rows]
        embedder = phase.embedder
        source = image_file_source(
            paths, image_size=embedder.image_size, resize=embedder.resize, views=embedder.views
        )
    batches = LabelledBatches(
        source,
        task.numbers(rows, parts.training),
        batch_size=flags.batch_size,
        seed=flags.seed,
        rank=processes.rank,
        world_size=processes.size,
    )
    model = LabellerTask(
        devise,
        task.words,
        loss=flags.loss,
        margin=flags.margin,
        encoder=phase.embedder.encoder if tuned else None,
    ).to(processes.device)  # before the optimiser: Adagrad has its sums where the weights then are
    groups = [(list(devise.parameters()), flags.rate)]
    if tuned:
        trained = [each for each in phase.embedder.encoder.parameters() if each.requires_grad]
        groups.append((trained, flags.encoder_rate))
    best = flags.out / _BEST
    torch.manual_seed(flags.seed + 1 + processes.rank)  # each process its own order of labels
    fitted = train(
        model,
        batches,
        optimizer=optimizer(flags.optimizer, groups, weight_decay=flags.weight_decay),
        schedule=schedule(
            flags.schedule, steps=flags.epochs * len(batches), decay_every=len(batches)
        ),
        epochs=flags.epochs,
        checkpoints=CheckpointConfig(flags.out, _settings(flags), resume=flags.resume),
        steps=StepConfig(
            processes,
            grad_clip=math.inf,  # the paper clips nothing
            bfloat16=flags.precision == "bfloat16",
        ),
        validation=ValidationConfig(
            judge(task, processes.device),
            lambda model, result: bundle.write(
                best, kind=_BEST_KIND, configuration={}, modules={"model": model}
            ),
            flags.patience,
        ),
    )
    if processes.first and fitted.best:
        figures = "  ".join(f"{name} {value:.1f}" for name, value in fitted.best.metrics.items())
        _log.info("best of %d epochs: %d  %s", fitted.epochs, fitted.best_epoch, figures)
    if processes.first:
        bundle.fill(bundle.read(best, kind=_BEST_KIND), "model", model)
    return devise


def _settings(flags: DeviseRun) -> dict[str, object]:
    """What a run is begun with, as JSON has it."""
    return {
        key: [str(path) for path in flags.photographs]
        if key == "photographs"
        else str(value)
        if isinstance(value, Path)
        else value
        for key, value in asdict(flags).items()
        if key not in ("resume", "out")
    }


def _check(flags: DeviseRun) -> None:
    """Refuse what cannot be meant, before anything is read."""
    if not flags.photographs:
        raise ValueError("no photographs are given")
    if flags.finetune_encoder != (flags.start is not None):
        raise ValueError(
            "phase 2 (--finetune-encoder) begins with the labeller of phase 1, and only it does: "
            "give it with --start"
        )
    if flags.finetune_encoder:
        given = [name for name in _OF_PHASE_1 if getattr(flags, name) != _default(name)]
        if given:
            named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ValueError(f"{named} cannot go with --start: the labeller has its own")
    elif flags.words is None:
        raise ValueError("--words wants a file of word vectors; `vl train words` makes one")
    if flags.embeddings:
        for name in ("views", "resize"):
            if getattr(flags, name) != _default(name):
                raise ValueError(f"--{name} cannot go with --embeddings: they have their own")
    if flags.method == "conse":  # nothing is trained step by step, and there is no checkpoint
        if flags.resume:
            raise ValueError("--resume is for --method devise or both: ConSE is made at once")
        given = [name for name in _OF_DEVISE if getattr(flags, name) != _default(name)]
        if given:
            named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ValueError(f"{named} cannot go with --method conse, which trains no map")
        if (flags.out / BUNDLE).exists():
            raise ValueError(f"{flags.out} holds a labeller already; choose another folder")
    elif (flags.out / "state.pt").exists() and not flags.resume:  # as the loop says, but at once
        raise ValueError(
            f"{flags.out} holds a run already; --resume goes on with it; or choose another folder"
        )
    if flags.kinds and flags.wordnet is None:
        raise ValueError("--kinds wants --wordnet, which says what is a kind of what")
    if flags.method == "devise" and flags.classes is not None:
        raise ValueError("--classes is for ConSE: --method conse or both")
    if flags.method == "devise" and flags.top != _default("top"):
        raise ValueError("--top is for ConSE: --method conse or both")
    if flags.encoder_rate != _default("encoder_rate") and not flags.finetune_encoder:
        raise ValueError("--encoder-rate is for phase 2: --finetune-encoder")


def _check_start(flags: DeviseRun, start: Labeller, *, quiet: bool) -> None:
    """See that a labeller has a map to go on with."""
    if "devise" not in start.projections:
        raise ValueError(
            f"{flags.start} was made with --method conse: it has no map that phase 2 could go on "
            "with"
        )
    if "conse" in start.projections and not quiet:
        _log.warning("ConSE's part of %s is left out: it is of another encoder", flags.start)


def _check_split(task: Task, start: Labeller) -> None:
    """See that no label is put aside which the labeller was trained on."""
    seen = set(start.seen)
    labels = [task.phase.examples.labels[number] for number in task.parts.unseen]
    known = [label.text for label in labels if label in seen]
    if known:
        raise ValueError(
            f"{len(known)} labels would be put aside that phase 1 was trained on, the first "
            f"{known[0]!r}: give phase 1's photographs, --held-out, --development and --seed"
        )


def _default(name: str) -> object:
    return next(field.default for field in fields(DeviseRun) if field.name == name)
