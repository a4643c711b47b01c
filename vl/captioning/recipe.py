"""Configurations of a captioner's training: data, decoder, optimization and run.

The commands show them as flags; they import no PyTorch.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from vl.data.bounds import (
    InputFile,
    InputPath,
    LearningRate,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveFraction,
    PositiveInt,
    Probability,
)
from vl.data.choices import (
    AutoPrecision,
    LstmCell,
    Optimizer,
    SamplingDecay,
    Schedule,
    SelectionMetric,
)
from vl.data.outputs import training_folder

CAPTIONER_FILE = "captioner.safetensors"  # in a training's folder


@dataclass(frozen=True, kw_only=True)
class CaptionFiles:
    """Captions of the training and development splits."""

    captions: InputFile
    """Captions: COCO's JSON, Flickr8k's token file, or Karpathy's JSON."""
    train_split: str | None = None
    """Name of the training split, in a file with splits."""
    train_list: InputFile | None = None
    """File names of the training images, one a line."""
    dev_captions: InputFile | None = None
    """Captions of the development split, if in another file."""
    dev_split: str | None = None
    """Name of the development split, in a file with splits."""
    dev_list: InputFile | None = None
    """Text file with the file names of the development images, one a line."""
    min_count: PositiveInt = 5
    """Minimum count of a word in the training captions; 5 in the paper, 4 in im2txt."""


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The decoder."""

    embedding_size: PositiveInt = 512
    """Width of the word embedding; 512 in im2txt."""
    hidden_size: PositiveInt = 512
    """Width of the LSTM; 512 in the paper and in im2txt."""
    cell: LstmCell = "im2txt"
    """LSTM cell: im2txt's, or the paper's without biases and output tanh."""
    tie_word_embeddings: bool = False
    """Use the word embedding as the output matrix."""
    dropout: Probability = 0.3
    """Dropout on the LSTM's input and output; 0.3 in im2txt."""


@dataclass(frozen=True, kw_only=True)
class CaptionerRecipe:
    """Optimization and validation."""

    optimizer: Optimizer = "adam"
    """AdamW, Muon, or as published plain SGD (im2txt: learning rate 2.0, batch size 32)."""
    learning_rate: LearningRate = 1e-3
    """Peak learning rate of the decoder; Kingma and Ba 2015 for Adam."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay of matrices, not biases: decoupled for adam, L2 for sgd; none as published."""
    schedule: Schedule = "cosine"
    """Learning-rate schedule; staircase in im2txt."""
    warmup_steps: NonNegativeInt | None = None
    """Steps of linear learning-rate warmup; by default 200, or a tenth of a shorter run."""
    decay_factor: PositiveFraction = 0.5
    """Factor of a staircase step; 0.5 in im2txt."""
    decay_every: PositiveFloat = 8
    """Epochs between staircase steps; 8 in im2txt."""
    grad_clip: PositiveFloat = 5.0
    """Clip the gradient norm to this; 5.0 in im2txt."""
    ema_decay: Probability = 0.999
    """Decay of the moving average of the weights, which is saved; 0 saves the last weights. Early
    in a run, and in a short one, the average is over the last tenth of the steps so far."""
    epochs: PositiveInt = 12
    """Maximum number of epochs."""
    batch_size: PositiveInt = 128
    """Captions in a batch (train), or images with all their captions; 32 in im2txt."""
    selection_metric: SelectionMetric | None = None
    """Metric on the development split that selects the best epoch; by default bleu-4, or loss on
    fewer than 20 images. While no 4-gram matches, and where BLEU-4 is equal, the loss decides."""
    patience: PositiveInt = 3
    """Epochs without improvement after which training stops; for bleu-4 none counts in which no
    4-gram matches."""
    num_beams: PositiveInt = 3
    """Beam width of the validation, and the captioner's default; 3 in im2txt."""
    length_penalty: NonNegativeFloat = 0.0
    """Compare captions by log-probability / length ** length_penalty; the captioner's default."""


@dataclass(frozen=True, kw_only=True)
class TeacherForcingRecipe(CaptionerRecipe):
    """Optimization and validation of training on the reference captions."""

    label_smoothing: Probability = 0.0
    """Label smoothing; none as published."""
    scheduled_sampling: Probability = 0.0
    """Probability, in the end, of feeding the decoder its prediction instead of the true word."""
    sampling_decay: SamplingDecay = "linear"
    """Decay of the probability of the true word in scheduled sampling (Bengio et al. 2015)."""


@dataclass(frozen=True, kw_only=True)
class FinetuningRecipe(TeacherForcingRecipe):
    """Optimization and validation of training encoder and decoder together."""

    encoder_learning_rate: LearningRate = 1e-5
    """Peak learning rate of the encoder; a hundredth of the decoder's."""
    reinitialize_decoder: bool = False
    """Start from an untrained decoder; its gradients damage a trained encoder."""


@dataclass(frozen=True, kw_only=True)
class SelfCriticalRecipe(CaptionerRecipe):
    """Optimization and validation of training on the reward of sampled captions."""

    bleu_weight: NonNegativeFloat = 2.0
    """Weight of BLEU-4 beside CIDEr-D in the reward of a sampled caption."""


@dataclass(frozen=True, kw_only=True)
class CaptionerRunConfig:
    """The run."""

    output_dir: Annotated[Path, training_folder(CAPTIONER_FILE, "captioner")]
    """Folder of the run: captioner.safetensors (the best epoch), log.jsonl, tensorboard/."""
    precision: AutoPrecision = "float32"
    """Precision of the forward pass; auto is bfloat16 where the device is faster at it."""
    device: str = "auto"
    """auto, cpu or cuda; torchrun starts a process for each device."""
    seed: NonNegativeInt = 0
    """Random seed of initialization, order and dropout."""
    resume: bool = False
    """Resume the run in the folder."""
    checkpoint_seconds: NonNegativeFloat = 60.0
    """Seconds between checkpoints."""


@dataclass(frozen=True, kw_only=True)
class CaptionerTraining:
    """Train a captioner: its decoder, on cached embeddings."""

    data: CaptionFiles
    embeddings: InputFile
    """Embeddings of all images of both splits, by `vl embed`."""
    encoder: str = "inception_v1"
    """Encoder that made the embeddings; it goes into the captioner."""
    weights: InputFile | None = None
    """Weights of the encoder."""
    standardize: bool = True
    """Standardize image embeddings (zero mean, unit deviation), or use them raw as published."""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    recipe: TeacherForcingRecipe = field(default_factory=TeacherForcingRecipe)
    run: CaptionerRunConfig


@dataclass(frozen=True, kw_only=True)
class CaptionerFinetuning:
    """Fine-tune a captioner: encoder and decoder together, on images."""

    model: InputFile
    """Captioner to start from, of `vl train captioner`."""
    image_dir: InputPath
    """Folder of the images."""
    data: CaptionFiles
    recipe: FinetuningRecipe = field(default_factory=FinetuningRecipe)
    run: CaptionerRunConfig


@dataclass(frozen=True, kw_only=True)
class SelfCriticalTraining:
    """Train a captioner's decoder on CIDEr-D and BLEU-4 of samples (Rennie 2017)."""

    model: InputFile
    """Captioner to start from, of `vl train captioner`."""
    embeddings: InputFile
    """Embeddings of all images of both splits by the captioner's encoder, by `vl embed`."""
    data: CaptionFiles
    recipe: SelfCriticalRecipe = field(default_factory=SelfCriticalRecipe)
    run: CaptionerRunConfig


AnyTraining = CaptionerTraining | CaptionerFinetuning | SelfCriticalTraining
