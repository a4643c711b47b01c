"""How an encoder is trained and fine-tuned: configurations that commands fill.

It imports no PyTorch, so that a command's help needs none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Literal, NamedTuple

from annotated_types import Interval

from vl.data.bounds import (
    LearningRate,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveFraction,
    PositiveInt,
    Probability,
)
from vl.data.choices import Depth, Resize, Schedule


class Recipe(NamedTuple):
    """Defaults of a training."""

    learning_rate: float
    schedule: Schedule
    decay_every: float
    decay_factor: float
    warmup_epochs: float
    label_smoothing: float
    weight_decay: float
    ema_decay: float


RECIPES = {
    # Szegedy et al. 2015: 4 % off the learning rate every 8 epochs, and Polyak averaging. They give
    # neither the initial learning rate nor the weight decay; these are ours.
    "published": Recipe(0.01, "staircase", 8, 0.96, 0, 0.0, 2e-4, 0.9999),
    # The cosine of Loshchilov and Hutter 2017, the warmup of Goyal et al. 2017, the smoothing of
    # Szegedy et al. 2016; ours are the learning rate, for batches of 256, and the weight decay.
    "modern": Recipe(0.1, "cosine", 8, 0.96, 5, 0.1, 5e-5, 0.0),
}
# Factors of a recipe's learning rate, which is for sgd with momentum from scratch; our choice.
_ADAM_FACTOR = 0.01
_FINETUNING_FACTOR = 0.1


@dataclass(frozen=True, kw_only=True)
class EncoderTrainingConfig:
    """How an encoder is trained."""

    recipe: Literal["modern", "published"] = "modern"
    """Defaults of learning rate, schedule, decay, warmup, label smoothing, weight decay and EMA.
    published: GoogLeNet's; modern: cosine schedule with warmup, label smoothing."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """sgd has --momentum; adam is AdamW."""
    learning_rate: LearningRate | None = None
    """Peak learning rate; a tenth of the recipe's in fine-tuning."""
    momentum: Probability = 0.9
    """Of sgd (Szegedy et al. 2015)."""
    schedule: Schedule | None = None
    """Of the learning rate: constant, staircase, cosine."""
    decay_every: PositiveFloat | None = None
    """Epochs between decays of the staircase; 8 in GoogLeNet's paper."""
    decay_factor: PositiveFloat | None = None
    """Of the staircase; 0.96 in GoogLeNet's paper."""
    warmup_epochs: NonNegativeFloat | None = None
    """Epochs of linear warmup of the learning rate; the recipe's are at most a sixth of the run."""
    label_smoothing: Probability | None = None
    """Share of the target that is spread over all classes."""
    weight_decay: NonNegativeFloat | None = None
    """Of matrices and convolutions, not of norms and biases."""
    ema_decay: Probability | None = None
    """Decay of an exponential moving average of the weights, which is validated and saved; 0 turns
    it off."""
    grad_clip: PositiveFloat = 5.0
    """Clip the gradient norm to this."""
    epochs: PositiveInt = 30
    """Passes over the training images."""
    batch_size: PositiveInt = 64
    """Images in a batch, over all processes."""
    gradient_accumulation: PositiveInt = 1
    """Batches in a step of the optimizer."""
    patience: PositiveInt | None = None
    """Stop after this many epochs without a better validation: top-1, or the loss where it ties."""
    resize: Resize = "center-crop"
    """In validation: crop the center of each image, or squash the whole image to a square."""
    min_crop_area: PositiveFraction = 0.08
    """Minimum share of an image in random crops (Szegedy et al. 2015)."""
    color_jitter: Annotated[float, Interval(ge=0, le=2)] = 1.0
    """Strength of color distortion; 0 turns it off."""
    flip_probability: Probability = 0.5
    """Of horizontal flips."""
    mixup: NonNegativeFloat = 0.0
    """Parameter of mixup's beta distribution; 0 turns it off."""
    adversarial_epsilon: Probability = 0.0
    """Train on adversarial images of the fast gradient sign method with this epsilon, of pixels in
    [0, 1] (Goodfellow et al. 2015); 0 turns it off."""
    clean_weight: Probability = 0.5
    """Weight of the loss on clean images in adversarial training, from 0 to 1; adversarial images
    have the rest (alpha in Goodfellow et al. 2015)."""
    num_workers: NonNegativeInt = 0
    """Processes that decode and augment images, for each training process; 0 for threads."""
    compile: bool = False
    """Compile the encoder with torch.compile."""
    local_steps: PositiveInt | None = None
    """Local SGD: steps of each process between averages of the weights."""
    fsdp: bool = False
    """Shard the weights over processes (FSDP2), for models too large for one device."""
    sync_batch_norm: bool = False
    """Synchronize batch normalization over processes, on GPUs."""
    seed: NonNegativeInt = 0
    """Of initial weights, order of images and augmentation."""
    checkpoint_seconds: NonNegativeFloat = 60.0
    """Seconds between checkpoints."""
    resume: bool = False
    """Continue the training in the output folder."""

    def resolved_recipe(self, *, finetuning: bool = False) -> Recipe:
        """The recipe with the values that are set instead of its defaults."""
        recipe = RECIPES[self.recipe]
        if finetuning:
            recipe = recipe._replace(learning_rate=_FINETUNING_FACTOR * recipe.learning_rate)
        if self.optimizer == "adam":
            recipe = recipe._replace(learning_rate=_ADAM_FACTOR * recipe.learning_rate)
        values = {name: getattr(self, name) for name in Recipe._fields}
        return recipe._replace(
            **{name: value for name, value in values.items() if value is not None}
        )

    def check(self, *, validation: bool, device: str) -> None:
        """Check values that depend on others.

        Args:
            validation: whether there are images to validate on.
            device: that it is trained on.

        Raises:
            ValueError: a value has no effect, or excludes another.
        """
        recipe = self.resolved_recipe()
        staircase = recipe.schedule == "staircase"
        requirements = (
            ("patience", validation, "images to validate on: --development"),
            ("decay_factor", staircase, "--schedule staircase"),
            ("decay_every", staircase, "--schedule staircase"),
            ("momentum", self.optimizer == "sgd", "--optimizer sgd"),
            ("clean_weight", self.adversarial_epsilon, "--adversarial-epsilon"),
            ("sync_batch_norm", device != "cpu", "GPUs: PyTorch does not have it on the CPU"),
        )
        for name, met, requirement in requirements:
            if flags_set(self, [name]) and not met:
                raise ValueError(f"{flags_set(self, [name])} requires {requirement}")
        if self.local_steps and (self.fsdp or self.sync_batch_norm):
            flags = flags_set(self, ["fsdp", "sync_batch_norm"])
            raise ValueError(f"{flags} and --local-steps exclude each other")
        if self.fsdp and recipe.ema_decay:
            raise ValueError("--fsdp keeps no average of the weights; use --ema-decay 0")


@dataclass(frozen=True, kw_only=True)
class EncoderFinetuningConfig(EncoderTrainingConfig):
    """How a pretrained encoder is fine-tuned."""

    depth: Depth
    """Layers to fine-tune: the last one (by convex optimization), the last blocks, or all. Before
    blocks and all a last layer is fitted, unless the classifier has these classes already."""
    blocks: PositiveInt = 2
    """Number of last blocks to fine-tune with --depth blocks."""
    views: tuple[str, ...] = ("plain", "flip")
    """For the last layer: views of each image; see `vl embed`."""

    def check(self, *, validation: bool, device: str) -> None:
        """As of the base; --blocks is for --depth blocks, and most flags not for --depth last."""
        if self.blocks != EncoderFinetuningConfig.blocks and self.depth != "blocks":
            raise ValueError("--blocks requires --depth blocks")
        unused = [
            field.name
            for field in fields(EncoderTrainingConfig)
            if field.name not in ("resize", "seed")
        ]
        if self.depth == "last" and flags_set(self, unused):
            raise ValueError(
                f"{flags_set(self, unused)} and --depth last, which takes no steps of an "
                "optimizer, exclude each other"
            )
        super().check(validation=validation, device=device)


def flags_set(config: EncoderTrainingConfig, names: Sequence[str]) -> str:
    """Those of some fields that differ from their defaults, as flags; empty if none does."""
    defaults = {field.name: field.default for field in fields(config)}
    changed = [name for name in names if getattr(config, name) != defaults[name]]
    return ", ".join(f"--{name.replace('_', '-')}" for name in changed)
