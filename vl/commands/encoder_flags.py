"""The flags of `vl train encoder`: what each says, and which can be meant together."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Interval

from vl.commands.bounds import (
    HeldOutFraction,
    LearningRate,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveFraction,
    PositiveInt,
    Probability,
)
from vl.commands.options import DeviceOptions
from vl.data.choices import Resize, Schedule
from vl.encoders.table import choices, validated_options
from vl.encoding.finetuning import Depth
from vl.encoding.task import ADAM, RECIPES, TUNED, Recipe
from vl.training.parallel import restarted

BUNDLE = "encoder.safetensors"
ENCODER = "inception_v1_bn"  # unless another is named
_STATE = "state.pt"
_LOG = "log.jsonl"
# Flags that say something where nothing is stepped.
_OF_THE_LAST_LAYER = (
    *("data", "out", "encoder", "borrowed", "tune", "views", "resize"),
    *("development", "development_share", "precision", "seed", "device"),
)


@dataclass(frozen=True)
class EncoderRun(DeviceOptions):
    """Train an encoder as an image classifier."""

    data: tyro.conf.Positional[Path]
    """A folder with a folder for each class, a list (picture, tab, class), or shards."""
    out: Path
    """The run's folder: encoder.safetensors and, but for --tune last, log.jsonl, the checkpoint,
    curves for TensorBoard."""
    encoder: str | None = None
    """The encoder's name, see `vl encoders`; by default inception_v1_bn, or that of --from."""
    width_factor: float = 1.0
    """What the published numbers of channels are multiplied by, for small data."""
    image_size: int | None = None
    """Pixels a side, of encoders that can be told; 224 by default."""
    auxiliary: bool = False
    """Train with the auxiliary heads; the encoder that is saved has none."""
    borrowed: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """An encoder to begin with: a bundle of an encoder, captioner or labeller, or BVLC's blobs."""
    classes: Path | None = None
    """The classifier's classes, one a line, where DATA has only some of them; with --tune the
    classifier of --from has to be of these already."""
    tune: Depth | None = None
    """Of --from: train the last layer alone (solved, not stepped), the last blocks too, or all.
    blocks and all begin with a last layer that is solved, or with one that knows these classes."""
    blocks: PositiveInt = 2
    """How many blocks --tune blocks trains."""
    views: Annotated[tuple[str, ...], tyro.conf.arg(metavar="VIEW ...")] = ("plain", "flip")
    """For the last layer: what of each picture is encoded; see `vl embed`."""
    resize: Resize = "center-crop"
    """For the last layer, and for judging: how a picture becomes a square."""
    development: Path | None = None
    """Pictures to judge by after every epoch, in the form of DATA; the best weights are kept."""
    development_share: HeldOutFraction = 0.0
    """Or a share of each class of DATA, put aside."""
    recipe: Literal["modern", "published"] = "modern"
    """What these are unless they are given: rate, schedule, stairs, warm-up, smoothing, weight
    decay, average. published: GoogLeNet's; modern: cosine with warm-up, smoothed labels."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """sgd has --momentum; adam is AdamW."""
    rate: LearningRate | None = None
    """Learning rate at its highest; with --tune a tenth of the recipe's."""
    momentum: Probability = 0.9
    """Of sgd (Szegedy et al. 2015)."""
    schedule: Schedule | None = None
    """How the rate changes: constant, staircase, cosine."""
    stair_epochs: PositiveFloat | None = None
    """Epochs between stairs; 8 in GoogLeNet's."""
    stair: PositiveFloat | None = None
    """What the rate is multiplied by at each stair; 0.96 in GoogLeNet's."""
    warm_up: NonNegativeFloat | None = None
    """Epochs over which the rate climbs."""
    smoothing: Probability | None = None
    """Share of the truth spread over all classes."""
    weight_decay: NonNegativeFloat | None = None
    """Of matrices and convolutions; norms and biases do not decay."""
    average: Probability | None = None
    """Decay of the running mean of the weights, which is what is judged and kept; 0 for none."""
    clip: PositiveFloat = 5.0
    """Greatest norm of the gradient."""
    epochs: PositiveInt = 30
    """Times each picture is seen."""
    batch_size: PositiveInt = 64
    """Pictures in a batch, over all processes."""
    accumulate: PositiveInt = 1
    """Batches in a step of the optimiser."""
    patience: PositiveInt | None = None
    """Epochs without a better judgement after which training stops."""
    least_area: PositiveFraction = 0.08
    """Least share of a picture that is cropped in training (Szegedy et al. 2015)."""
    colour: Annotated[float, Interval(ge=0, le=2)] = 1.0
    """How strongly colours are distorted; 0 not at all."""
    flip: Probability = 0.5
    """How often a picture is mirrored."""
    mixup: NonNegativeFloat = 0.0
    """Parameter of mixup's beta distribution; 0 for none."""
    adversarial: Probability = 0.0
    """Train against the fast gradient sign of this size, of a range of 1 (Goodfellow et al.)."""
    clean_weight: Probability = 0.5
    """Weight of the clean pictures in adversarial training (the paper's alpha)."""
    workers: NonNegativeInt | None = None
    """Worker processes that decode and augment images; one a core by default, 0 for none."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Of the forward pass; auto takes bfloat16 where the machine is quicker at it."""
    compile: bool = False
    """Compile the encoder with torch.compile."""
    local_steps: PositiveInt | None = None
    """Loosely coupled processes: each takes so many steps of its own between means of all."""
    part_each: bool = False
    """Each process holds a part of the weights (FSDP2), for what does not fit."""
    shared_norms: bool = False
    """Batch normalisation counts the pictures of all processes; on GPUs."""
    seed: NonNegativeInt = 0
    """Of the first weights, the order and the distortions."""
    save_seconds: NonNegativeFloat = 60.0
    """Between checkpoints."""
    resume: bool = False
    """Go on with the run in the folder."""


def check(flags: EncoderRun) -> None:
    """Refuse what cannot be meant, before anything is read.

    Raises:
        ValueError: a number is out of its range, flags do not go together, the encoder cannot be
            trained, or something is in the folder already.
        FileNotFoundError: there is no run to resume.
    """
    recipe = recipe_of(flags)
    _check_together(flags, recipe)
    name = flags.encoder or ENCODER
    validated_options(
        name,
        auxiliary=flags.auxiliary,
        width_factor=flags.width_factor,
        image_size=flags.image_size,
    )
    if "classes" not in choices(name):
        raise ValueError(f"{name} cannot be trained: it has no classifier")
    if flags.out.exists() and not flags.out.is_dir():
        raise ValueError(f"{flags.out} is a file; the run wants a folder")
    # A run that is stepped has a log before it has an encoder.
    if (flags.out / BUNDLE).exists() and (flags.tune == "last" or not (flags.out / _LOG).exists()):
        raise ValueError(f"{flags.out} holds an encoder already; choose another folder")
    if flags.resume and not (flags.out / _STATE).exists():
        raise FileNotFoundError(f"{flags.out / _STATE}: there is no run to resume")
    elif (flags.out / _STATE).exists() and not goes_on(flags):
        raise ValueError(
            f"{flags.out} already contains a run; continue it with --resume, or choose another "
            "folder"
        )


def recipe_of(flags: EncoderRun) -> Recipe:
    """The recipe that was chosen, with what was given instead of parts of it."""
    recipe = RECIPES[flags.recipe]
    # A short training has a short warm-up, or it would be over before it was warm.
    recipe = recipe._replace(warm_up=min(recipe.warm_up, flags.epochs / 6))
    if flags.tune:
        recipe = recipe._replace(rate=TUNED * recipe.rate)
    if flags.optimizer == "adam":
        recipe = recipe._replace(rate=ADAM * recipe.rate)
    given = {key: getattr(flags, key) for key in Recipe._fields}
    return recipe._replace(**{key: value for key, value in given.items() if value is not None})


def settings_of(flags: EncoderRun) -> dict[str, object]:
    """What a run is begun with, as JSON has it."""
    return {
        key: str(value) if isinstance(value, Path) else value
        for key, value in asdict(flags).items()
        if key not in ("resume", "out", "save_seconds", "workers")
    }


def goes_on(flags: EncoderRun) -> bool:
    """Whether there is a checkpoint to go on with; torchrun restarts with the same flags."""
    return flags.resume or (restarted() and (flags.out / _STATE).exists())


def _check_together(flags: EncoderRun, recipe: Recipe) -> None:
    """Refuse flags that mean nothing without another, or cannot go with one."""
    if flags.development and flags.development.resolve() == flags.data.resolve():
        raise ValueError("--development is what is trained on: others are wanted to judge by")
    if flags.development and flags.development_share:
        raise ValueError("--development and --development-share were given; one of them is enough")
    judged = bool(flags.development or flags.development_share)
    stairs = recipe.schedule == "staircase"
    wants = (
        ("tune", flags.borrowed, "an encoder to begin with: --from"),
        ("blocks", flags.tune == "blocks", "--tune blocks"),
        ("views", flags.tune, "--tune"),
        ("resize", flags.tune or judged, "pictures to judge by, or --tune"),
        ("patience", judged, "pictures to judge by: --development"),
        ("stair", stairs, "--schedule staircase"),
        ("stair_epochs", stairs, "--schedule staircase"),
        ("momentum", flags.optimizer == "sgd", "--optimizer sgd"),
        ("clean_weight", flags.adversarial, "--adversarial"),
        ("shared_norms", flags.device != "cpu", "GPUs: PyTorch has none of it on the CPU"),
    )
    for name, there, wanted in wants:
        if _given(flags, [name]) and not there:
            raise ValueError(f"{_given(flags, [name])} wants {wanted}")
    every = [field.name for field in fields(flags)]
    refused = (
        (
            flags.borrowed,
            ["width_factor", "image_size", "auxiliary"],
            "--from, whose encoder has its own",
        ),
        (
            flags.tune == "last",
            [name for name in every if name not in _OF_THE_LAST_LAYER],
            "--tune last, which is solved and not stepped towards",
        ),
        (flags.local_steps, ["part_each", "shared_norms"], "--local-steps"),
    )
    for so, names, reason in refused:
        if so and _given(flags, names):
            raise ValueError(f"{_given(flags, names)} cannot go with {reason}")
    if flags.part_each and recipe.average:
        raise ValueError("--part-each keeps no running mean of the weights: --average 0")


def _given(flags: EncoderRun, names: Sequence[str]) -> str:
    """Those of some flags that are not as by default, as they are written."""
    default = {field.name: field.default for field in fields(flags)}
    given = [name for name in names if getattr(flags, name) != default[name]]
    return ", ".join(f"--{name.replace('_', '-')}" for name in given)
