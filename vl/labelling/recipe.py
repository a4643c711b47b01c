"""Configurations of the training of word vectors and of labellers: the flags of the commands.

They import no PyTorch.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Interval

from vl.data.bounds import (
    HeldOutFraction,
    InputFile,
    InputPath,
    LearningRate,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveFraction,
    PositiveInt,
)
from vl.data.choices import LabellerMethod, Precision, Resize, Schedule, Synonyms
from vl.data.outputs import training_folder
from vl.data.words.label_tables import LabelColumns

LABELLER_FILE = "labeller.safetensors"  # in a training's folder


@dataclass(frozen=True, kw_only=True)
class Word2VecSettings:
    """Settings of word2vec; the defaults are DeViSE's where it gives one."""

    vector_size: PositiveInt = 500
    """Dimension of the vectors; 500 or 1,000 in DeViSE."""
    window: PositiveInt = 20
    """Context words on either side, at most; 20 in DeViSE."""
    cbow: bool = False
    """Predict a word from its context (CBOW); DeViSE uses skip-gram."""
    negative: NonNegativeInt = 0
    """Negative samples; 0 for hierarchical softmax, as in DeViSE."""
    epochs: PositiveInt = 1
    """Passes over the text; 1 in DeViSE."""
    min_count: PositiveInt = 5
    """Least count of a word; 5 in word2vec."""
    sample: Annotated[float, Interval(ge=0, lt=1)] = 1e-3
    """Threshold of subsampling frequent words; 1e-3 in word2vec; 0 for none."""
    learning_rate: PositiveFraction = 0.025
    """Initial learning rate, which decays linearly to 0.0001; 0.025 in word2vec, 0.05 for its
    CBOW."""


@dataclass(frozen=True, kw_only=True)
class PhraseDetection:
    """Settings of joining frequent pairs of words."""

    phrase_passes: NonNegativeInt = 0
    """Passes that join frequent pairs of words; two find up to four words. The terms of --labels
    stay as they are."""
    phrase_min_count: PositiveInt = 5
    """Pairs of words that are rarer do not become phrases; 5 in gensim."""
    phrase_threshold: PositiveFloat = 10.0
    """Least score of a pair, how much more frequent it is than by chance; 10 in gensim, 100 in
    word2vec; higher finds fewer."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The encoder, which is not trained, and the embeddings of the images."""

    encoder: str = "inception_v1"
    """Encoder of the images; see `vl encoders`."""
    weights: InputFile | None = None
    """Weights of the encoder: BVLC's .caffemodel, torchvision's .pth, timm's safetensors, or a file
    of an encoder, captioner or labeller; by default downloaded from torchvision or timm."""
    embeddings: InputFile | None = None
    """Embeddings of the images, by `vl embed`; otherwise the images are encoded first."""
    views: Annotated[tuple[str, ...], tyro.conf.arg(metavar="VIEW ...")] = ("plain", "flip")
    """Views of each image that are encoded, without --embeddings; see `vl embed`."""
    resize: Resize | None = None
    """Resize mode, without --embeddings; by default center-crop, and as timm prescribes for its
    encoders."""


@dataclass(frozen=True, kw_only=True)
class LabelSpaceConfig:
    """The label space: word vectors, and what is made of them."""

    word_vectors: InputFile
    """Word vectors in word2vec's or GloVe's format; see `vl train words`."""
    limit_words: PositiveInt | None = None
    """Use only the first, most frequent words; the labeller's file stores all that are used."""
    random_word_vectors: bool = False
    """Replace the word vectors by random ones, as a control."""
    wordnet: InputPath | None = None
    """Folder with WordNet's words.txt and is_a.txt, or nltk for NLTK's WordNet: for classes named
    by WordNet ids, and for --hypernym-weight."""
    hypernym_weight: NonNegativeFloat = 0.0
    """Weight of a label's hypernyms in its vector, below 1; needs --wordnet."""
    synonyms: Synonyms = "first"
    """Vector of a label: that of its first synonym with a vector, or the mean of all."""
    subtract_mean: bool = False
    """Subtract the mean of the training labels' vectors from every label's."""


@dataclass(frozen=True, kw_only=True)
class SplitConfig(LabelColumns):
    """Which labels are trained on."""

    held_out: InputFile | None = None
    """File of labels whose images are not used at all."""
    development_share: HeldOutFraction = 0.1
    """Fraction of the labels, and of the other labels' images, that validates the training and
    calibrates the labeller; 0 for no validation and no calibration."""


@dataclass(frozen=True, kw_only=True)
class ConseConfig:
    """ConSE (Norouzi et al. 2014)."""

    classes: InputFile | None = None
    """File of the classes of the encoder's own classifier, in its order; without it ConSE trains a
    classifier on the embeddings."""
    top_k: PositiveInt = 10
    """Labels that ConSE mixes (Norouzi et al. 2014)."""


@dataclass(frozen=True, kw_only=True)
class DeviseRecipe:
    """Optimization of DeViSE's projection (Frome et al. 2013)."""

    loss: Literal["first", "full"] = "first"
    """Hinge rank loss of the first violation in random order, as published, or of all labels."""
    margin: NonNegativeFloat = 0.1
    """Margin of the hinge rank loss (Frome et al. 2013)."""
    optimizer: Literal["adagrad", "adam", "sgd"] = "adagrad"
    """Optimizer; Adagrad in the paper."""
    learning_rate: LearningRate = 0.01
    """Peak learning rate of the projection."""
    schedule: Schedule = "constant"
    """Learning-rate schedule."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay; an L2 penalty, for adam decoupled as in AdamW."""
    epochs: PositiveInt = 30
    """Maximum number of epochs."""
    batch_size: PositiveInt = 64
    """Images in a batch, over all processes."""
    patience: PositiveInt = 5
    """Epochs without improvement after which training stops."""


@dataclass(frozen=True, kw_only=True)
class ProjectionRecipe(DeviseRecipe):
    """Optimization of a projection on fixed embeddings."""

    standardize: bool = True
    """Standardize embeddings (zero mean, unit deviation), or use them raw as published."""


@dataclass(frozen=True, kw_only=True)
class EncoderAndProjectionRecipe(DeviseRecipe):
    """Optimization of encoder and projection together."""

    encoder_learning_rate: LearningRate = 1e-4
    """Peak learning rate of the encoder."""


@dataclass(frozen=True, kw_only=True)
class LabellerRunConfig:
    """The run."""

    output_dir: Annotated[Path, training_folder(LABELLER_FILE, "labeller")]
    """Folder of the run: labeller.safetensors (the best epoch), log.jsonl, tensorboard/."""
    precision: Precision = "float32"
    """Precision of the forward pass in training."""
    device: str = "auto"
    """auto, cpu or cuda; torchrun starts a process for each device."""
    seed: NonNegativeInt = 0
    """Random seed of initialization, development split and order."""
    resume: bool = False
    """Resume the run in the folder."""


@dataclass(frozen=True, kw_only=True)
class LabellerTraining:
    """Train a labeller: a projection of images into the space of word vectors."""

    images: tyro.conf.Positional[list[InputPath]]
    """Folders with a folder for each class, and lists of an image, a tab and its class."""
    method: LabellerMethod = "devise"
    """DeViSE's trained projection, ConSE's mix of training labels, or the mean of both."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    space: LabelSpaceConfig
    split: SplitConfig = field(default_factory=SplitConfig)
    conse: ConseConfig = field(default_factory=ConseConfig)
    recipe: ProjectionRecipe = field(default_factory=ProjectionRecipe)
    run: LabellerRunConfig


@dataclass(frozen=True, kw_only=True)
class LabellerFinetuning:
    """Fine-tune a labeller: encoder and DeViSE's projection together, on images."""

    images: tyro.conf.Positional[list[InputPath]]
    """Folders with a folder for each class, and lists of an image, a tab and its class."""
    model: InputFile
    """Labeller's file, by `vl train labeller --method devise` or both."""
    split: SplitConfig = field(default_factory=SplitConfig)
    recipe: EncoderAndProjectionRecipe = field(default_factory=EncoderAndProjectionRecipe)
    run: LabellerRunConfig
