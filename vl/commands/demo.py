"""`vl demo`: the whole way from pictures to scored captions, on drawings made by the code."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torchvision.io import write_png

from data.batches import CaptionBatches, one_view
from data.captions import CaptionedImage
from data.scenes import Scene, draw
from data.tokens import words
from data.vocabulary import Vocabulary
from decoders.show_and_tell import ShowAndTell
from encoders.inception import inception_v1
from vl.captioner import Captioner
from vl.captioner_training import CaptionTraining, judge_of, rows_only
from vl.extractor import Extractor
from vl.progress import Bar
from vl.schedules import schedule
from vl.training import Judgement, fit

_log = logging.getLogger(__name__)
_SIDE = 64  # pixels; the encoder averages over whatever side it gets


@dataclass(frozen=True)
class DemoRun:
    """Draw pictures, train a captioner on them for a minute, caption others, and score that."""

    out: Path = Path("demo")
    """Folder for the captioner and the pictures; must not hold a run already."""
    pictures: int = 600
    """Drawn for training; 100 more are drawn to judge by, and 100 more to score at the end."""
    epochs: int = 12
    """Times the training captions are seen."""
    seed: int = 0
    """Of drawings and weights."""


def run(flags: DemoRun) -> int:
    """Run it.

    The encoder is GoogLeNet with random weights, kept as they are: random convolutions tell colours
    and shapes apart well enough for drawings, and no weights have to be fetched.
    """
    torch.manual_seed(flags.seed)
    training = _drawn(flags.seed, 0, flags.pictures)
    development = _drawn(flags.seed, flags.pictures, 100)
    test = _drawn(flags.seed, flags.pictures + 100, 100)
    _log.info(
        "%d drawings to train on, 100 to judge by, 100 to score; the encoder is GoogLeNet with "
        "random weights, which nothing trains here",
        flags.pictures,
    )
    encoder = inception_v1()
    vectors = _embedded(encoder, [*training, *development, *test])
    train_vectors, dev_vectors, test_vectors = vectors.split([flags.pictures, 100, 100])
    vocabulary = Vocabulary.counted(
        _records("training", training), minimum=1, evaluation=_records("development", development)
    )
    # Random features lie close together: the mean and scale of the training split spread them.
    mean, scale = train_vectors.mean(0), train_vectors.std(0).mean()
    decoder = ShowAndTell(
        image_width=encoder.width, vocabulary_size=len(vocabulary), width=128, hidden=128
    )
    model = CaptionTraining(decoder)
    batches = CaptionBatches(
        one_view(train_vectors[:, None]), _encoded(training, vocabulary), batch_size=64
    )

    def captioner(model: CaptionTraining) -> Captioner:
        return Captioner(encoder, [model.decoder], vocabulary, encoder_name="inception_v1")

    def keep(model: nn.Module, judgement: Judgement | None) -> None:
        assert isinstance(model, CaptionTraining)
        captioner(model).save(flags.out / "captioner.safetensors")

    raise SystemExit((mean, scale, dev_vectors, test_vectors, judge_of, rows_only, AdamW, schedule, fit, batches, write_png, words))


def _drawn(seed: int, first: int, count: int) -> list[Scene]:
    return [draw(1_000_003 * seed + first + index) for index in range(count)]


def _records(split: str, scenes: list[Scene]) -> list[CaptionedImage]:
    return [
        CaptionedImage(index, f"{split}-{index}.png", scene.captions, split)
        for index, scene in enumerate(scenes)
    ]


def _encoded(scenes: list[Scene], vocabulary: Vocabulary) -> list[list[list[int]]]:
    return [[vocabulary.encode(words(one)) for one in scene.captions] for scene in scenes]


def _embedded(encoder: nn.Module, scenes: list[Scene]) -> Tensor:
    raise SystemExit(encoder)
