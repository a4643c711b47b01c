"""`vl demo`: the whole way from pictures to scored captions, on drawings made by the code."""

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torchvision.transforms.v2.functional import to_pil_image

from data.batches import CaptionBatches, one_view
from data.captions import CaptionedImage
from data.scenes import Scene, draw
from data.tokens import words
from data.vocabulary import Vocabulary
from decoders.show_and_tell import ShowAndTell
from encoders.inception import Inception, inception_v1_bn
from vl.captioner import Captioner
from vl.captioner_training import CaptionTraining, judge_of, rows_only
from vl.extractor import Extractor
from vl.metrics.bleu import corpus_bleu
from vl.progress import Bar
from vl.schedules import schedule
from vl.training import Judgement, fit

_log = logging.getLogger(__name__)
_ENCODER = "inception_v1_bn"
_SIDE = 112  # pixels of a drawing; the encoder sees it at twice that
_HELD = 60  # drawings to judge by, and as many more to score
_SHOWN = 3
_BATCH = 20


@dataclass(frozen=True)
class DemoRun:
    """Draw pictures, train a captioner on some, caption others, and score that; a minute or two."""

    out: Path = Path("demo")
    """Folder for the captioner and three pictures; must not hold a run already."""
    pictures: int = 400
    """Drawn for training; 60 more to judge by and 60 more to score."""
    epochs: int = 15
    """Times the training captions are seen."""
    seed: int = 0
    """Of drawings and weights."""


def run(flags: DemoRun) -> int:
    """Run it."""
    if (flags.out / "state.pt").exists():
        raise ValueError(f"{flags.out} holds a run already; choose another folder with --out")
    torch.manual_seed(flags.seed)
    count = flags.pictures + 2 * _HELD
    scenes = [draw(1_000_003 * flags.seed + index, side=_SIDE) for index in range(count)]
    training, held = scenes[: flags.pictures], scenes[flags.pictures :]
    development, test = held[:_HELD], held[_HELD:]
    _log.info(
        "%d drawings to train on, %d to judge by, %d to score; the encoder is GoogLeNet with "
        "random weights, so what you see is the decoder's work",
        *map(len, (training, development, test)),
    )
    encoder = inception_v1_bn()
    _settle(encoder, training[:100])
    vectors = _embedded(encoder, scenes)
    train_vectors, dev_vectors, test_vectors = (
        vectors[: flags.pictures],
        vectors[flags.pictures : -_HELD],
        vectors[-_HELD:],
    )
    vocabulary = Vocabulary.counted(
        _records("training", training), minimum=1, evaluation=_records("development", development)
    )

    def captioner(model: CaptionTraining) -> Captioner:
        decoder = copy.deepcopy(model.decoder)
        return Captioner(encoder, [decoder], vocabulary, encoder_name=_ENCODER)

    best = _trained(
        flags, captioner, (train_vectors, dev_vectors), (training, development), vocabulary
    )
    found = [captions[0].text for captions in best.describe(test_vectors)]
    scores = corpus_bleu([text.split() for text in found], _references(test)).scores
    for index in range(_SHOWN):
        path = flags.out / f"drawing-{index}.png"
        to_pil_image(test[index].pixels).save(path)
        print(f"{path}\t{found[index]}")
    named = sum(
        {scene.colour, scene.kind} <= set(text.split())
        for scene, text in zip(test, found, strict=True)
    )
    print(f"BLEU-1 {scores[0]:.3f}  BLEU-4 {scores[3]:.3f}  drawings {_HELD}  references 5")
    print(f"colour and kind both right in {named} of {_HELD} captions")
    _log.info(
        "next: vl caption %s --model %s --beam 5 --n-best 3",
        flags.out / "drawing-0.png",
        flags.out / "captioner.safetensors",
    )
    return 0


def _trained(
    flags: DemoRun,
    captioner: Callable[[CaptionTraining], Captioner],
    vectors: tuple[Tensor, Tensor],
    scenes: tuple[list[Scene], list[Scene]],
    vocabulary: Vocabulary,
) -> Captioner:
    """The captioner that is best on the development drawings; pairs are training, development."""
    encoded = [
        [[vocabulary.encode(words(caption)) for caption in scene.captions] for scene in split]
        for split in scenes
    ]
    batches = CaptionBatches(one_view(vectors[0][:, None]), encoded[0], batch_size=50)
    judged = CaptionBatches(rows_only, encoded[1], batch_size=500, seed=None)
    model = CaptionTraining(
        ShowAndTell(
            image_width=vectors[0].shape[1], vocabulary_size=len(vocabulary), width=128, hidden=128
        )
    )
    model.decoder.standardise(vectors[0])
    path = flags.out / "captioner.safetensors"

    def keep(model: nn.Module, judgement: Judgement | None) -> None:
        assert isinstance(model, CaptionTraining)
        captioner(model).save(path)

    references = {str(index): one for index, one in enumerate(_references(scenes[1]))}
    fit(
        model,
        batches,
        optimizer=AdamW(model.parameters(), lr=3e-3),
        schedule=schedule("cosine", steps=flags.epochs * len(batches), warm_up=20),
        epochs=flags.epochs,
        folder=flags.out,
        settings={"seed": flags.seed, "pictures": flags.pictures, "epochs": flags.epochs},
        average=0.99,
        judge=judge_of(captioner, judged, references, lambda model: vectors[1], criterion="bleu-4"),
        keep=keep,
    )
    return Captioner.load(path)


def _settle(encoder: Inception, scenes: list[Scene]) -> None:
    """Give batch normalisation the means and variances of these drawings; no weight is trained."""
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean over all batches
    extractor = Extractor(encoder)
    encoder.train()
    for begin in range(0, len(scenes), _BATCH):
        extractor(torch.stack([extractor.square(s.pixels) for s in scenes[begin : begin + _BATCH]]))
    encoder.eval()


def _embedded(encoder: Inception, scenes: list[Scene]) -> Tensor:
    extractor = Extractor(encoder, batch_size=_BATCH)
    parts = []
    with Bar("embed", len(scenes), unit="drawings") as bar:
        for begin in range(0, len(scenes), _BATCH):
            batch = [extractor.square(scene.pixels) for scene in scenes[begin : begin + _BATCH]]
            parts.append(extractor(torch.stack(batch))[:, 0])
            bar.advance(len(batch))
    return torch.cat(parts).clone()  # (drawings, D), out of inference mode


def _references(scenes: list[Scene]) -> list[list[list[str]]]:
    return [[words(caption) for caption in scene.captions] for scene in scenes]


def _records(split: str, scenes: list[Scene]) -> list[CaptionedImage]:
    return [
        CaptionedImage(index, f"{split}-{index}.png", scene.captions, split)
        for index, scene in enumerate(scenes)
    ]
