"""The stages of `vl demo`: the whole system on the drawn world, by the commands that users have.

What only the demonstration does is to train its encoder attribute by attribute; see
``vl.demo.encoder``. It does not know what is printed, nor the page.
"""

import io
import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vl.commands import caption, embed, evaluate, evaluate_labels, train_captioner, train_words
from vl.commands import draw_world as draw
from vl.commands import train_labeller as train_devise
from vl.data.embeddings import EmbeddingWriter, load_embeddings
from vl.data.images.decode import decode_uint8
from vl.data.world.files import read_truth
from vl.data.world.kinds import SEEN
from vl.data.world.scenes import Scene, Split
from vl.demo.encoder import QUESTIONS, Pictures, WorldTask, accuracy, init_batch_norm_bias
from vl.demo.truth import TruthScores, truth_scores
from vl.devices import bfloat16_pays
from vl.encoders.inception import Inception
from vl.encoders.table import encoder
from vl.encoding import encoder_file as encoder_bundle
from vl.encoding.encoder_file import TrainedEncoder
from vl.evaluation.results import read_results
from vl.training.loop import Validation, fit
from vl.training.optimizers import optimizer
from vl.training.schedules import schedule

Flags = TypeVar("Flags")
ENCODER = "inception_v1_bn"
WIDTH_FACTOR = 0.25
JUDGED: tuple[Split, ...] = ("test", "held-out-combinations", "held-out-kinds")
METHODS = ("devise", "conse", "random")
_BATCH = 128
_ENCODER_RATE = 0.03
_ANSWER_RATE = 0.003  # of the layers that answer: slow ones leave it to the embedding to be clear
_CELL = 16  # pixels: the encoder halves a side four times up to its auxiliary classifiers


class Sizes(NamedTuple):
    """How much of everything."""

    training: int = 8000  # pictures
    judged: int = 400  # of each other split
    side: int = 64  # pixels of a picture, in sixteens
    words: int = 300_000  # of text
    picture_epochs: int = 11
    caption_epochs: int = 3


class Demo:
    """The stages in their order; each leaves files in the folder, from which the next goes on.

    Args:
        folder: of everything.
        sizes: how much of everything.
        seed: of everything.
        device: where networks are trained.
    """

    def __init__(
        self, folder: Path, *, sizes: Sizes | None = None, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.folder, self.sizes, self.seed, self.device = folder, sizes or Sizes(), seed, device
        self.world = folder / "world"
        self.words = folder / "words.bin"
        self.encoder = folder / "encoder" / "encoder.safetensors"
        self.embeddings = folder / "pictures.npy"  # by the names that lists of classes have
        self.captioned = folder / "captioned.npy"  # by those that captions have
        self.captioner = folder / "captioner" / train_captioner.BUNDLE

    def stages(self) -> dict[str, Callable[[], None]]:
        """What is to be done, by name, in order."""
        return {
            "draw": self.draw,
            "train words": self.train_words,
            "train encoder": self.train_encoder,
            "embed": self.embed,
            "train labellers": self.train_labellers,
            "train captioner": self.train_captioner,
            "caption": self.caption,
        }

    def labeller(self, method: str) -> Path:
        """The file of one of ``METHODS``."""
        return self.folder / f"labeller-{method}" / train_devise.BUNDLE

    def results(self, split: Split) -> Path:
        """The captions of a split."""
        return self.folder / f"captions-{split}.json"

    def draw(self) -> None:
        """Pictures, captions, text and taxonomy."""
        sizes = self.sizes
        _quietly(
            draw.run,
            draw.DrawRun(
                self.world,
                training=sizes.training,
                development=sizes.judged,
                test=sizes.judged,
                held_out_combinations=sizes.judged,
                held_out_kinds=sizes.judged,
                side=sizes.side,
                words=sizes.words,
                seed=self.seed,
            ),
        )

    def train_words(self) -> None:
        """Word vectors; one worker, as several would not make the same ones again."""
        _quietly(
            train_words.run,
            train_words.WordTraining(
                [self.world / "text.txt"],
                self.words,
                size=100,
                window=5,
                negative=10,
                epochs=5,
                minimum=2,
                seed=self.seed,
                workers=1,
            ),
        )

    def train_encoder(self) -> None:
        """Asked of many things at once; kept with its classifier of kinds alone."""
        torch.manual_seed(self.seed)
        sizes = self.sizes
        images, scenes = self.pictures("training")
        built = encoder(
            ENCODER,
            classes=sum(QUESTIONS.values()),
            width_factor=WIDTH_FACTOR,
            image_size=sizes.side,
        )
        assert isinstance(built, Inception)
        init_batch_norm_bias(built)
        batches = Pictures(
            images, scenes, cells=sizes.side // _CELL, batch_size=_BATCH, seed=self.seed
        )
        model = WorldTask(built, scenes).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form
        development = self.pictures("development")

        def judge(model: nn.Module) -> Validation:
            found = accuracy(built, *development)
            return Validation(found["kind and colour"], found)

        steps = sizes.picture_epochs * len(batches)
        fit(
            model,
            batches,
            optimizer=_optimizer(built),
            schedule=schedule("cosine", steps=steps, warm_up=min(60, steps // 10)),
            epochs=sizes.picture_epochs,
            folder=self.encoder.parent,
            settings={"seed": self.seed},
            bfloat16=bfloat16_pays(torch.device(self.device)),
            judge=judge,
            save_seconds=math.inf,
            counted="images",
        )
        built.auxiliary.clear()
        assert built.classifier is not None
        kinds = nn.Linear(built.width, len(SEEN))
        kinds.load_state_dict(
            {key: value[: len(SEEN)] for key, value in built.classifier.state_dict().items()}
        )
        built.classifier = kinds
        told = {"drawn world": self.seed}
        encoder_bundle.save(self.encoder, TrainedEncoder(built.cpu(), ENCODER, SEEN, told))

    def embed(self) -> None:
        """Pictures to embeddings, under two names: lists have folders before them, COCO has not."""
        _quietly(
            embed.run,
            embed.EmbedRun(
                [self.world],
                self.embeddings,
                weights=self.encoder,
                encoder=ENCODER,
                batch_size=128,
                device=self.device,
            ),
        )
        held = load_embeddings(self.embeddings)
        renamed = EmbeddingWriter(self.captioned, held.provenance)
        renamed.add([Path(name).name for name in held.names], held.of(held.names))
        renamed.finish()

    def train_labellers(self) -> None:
        """DeViSE; beside it ConSE, and DeViSE with random vectors for words."""
        for method in METHODS:
            _quietly(
                train_devise.run,
                train_devise.DeviseRun(
                    [self.world / "training.txt"],
                    self.labeller(method).parent,
                    words=self.words,
                    embeddings=self.embeddings,
                    weights=self.encoder,
                    encoder=ENCODER,
                    method="conse" if method == "conse" else "devise",
                    classes=self.world / "kinds-seen.txt" if method == "conse" else None,
                    random_words=method == "random",
                    seed=self.seed,
                    device=self.device,
                ),
            )

    def train_captioner(self) -> None:
        """The decoder on the embeddings."""
        _quietly(
            train_captioner.run,
            train_captioner.CaptionerTraining(
                self.world / "captions-training.json",
                self.captioner.parent,
                embeddings=self.captioned,
                weights=self.encoder,
                encoder=ENCODER,
                dev_captions=self.world / "captions-development.json",
                width=128,
                hidden=256,
                dropout=0.1,
                optimizer="muon",
                rate=0.01,
                warm_up=60,
                average=0.99,
                epochs=self.sizes.caption_epochs,
                batch_size=250,
                min_count=1,
                precision="auto",
                save_seconds=3600,
                seed=self.seed,
                device=self.device,
            ),
        )

    def caption(self) -> None:
        """Captions of the splits that are judged, in COCO's results format."""
        for split in JUDGED:
            _quietly(
                caption.run,
                caption.CaptionRun(
                    [self.world / "pictures" / split],
                    [self.captioner],
                    out=self.results(split),
                    batch_size=128,
                    device=self.device,
                ),
            )

    def pictures(self, split: Split) -> tuple[Tensor, list[Scene]]:
        """A split's pictures, ``(N, 3, S, S)`` uint8, and what they show."""
        truth = read_truth(self.world / f"truth-{split}.jsonl")
        folder = self.world / "pictures" / split

        def read(name: str) -> Tensor:
            return decode_uint8((folder / name).read_bytes(), name)

        with ThreadPoolExecutor() as pool:
            return torch.stack(list(pool.map(read, truth))), list(truth.values())

    def said(self, split: Split) -> dict[str, str]:
        """The caption of each picture, by the picture's name."""
        return {str(name): text for name, text in read_results(self.results(split)).items()}

    def caption_scores(self, split: Split) -> tuple[dict[str, Any], TruthScores]:
        """Against people's captions, so to speak, and against the truth."""
        summary = _json(
            evaluate.run,
            evaluate.Evaluation(
                self.results(split),
                references=(self.world / f"captions-{split}.json",),
                json=True,
                resamples=0,
            ),
        )
        truth, said = read_truth(self.world / f"truth-{split}.jsonl"), self.said(split)
        return summary, truth_scores([said[name] for name in truth], list(truth.values()))

    def label_scores(self, method: str) -> dict[str, Any]:
        """Of the test's kinds, the held-out ones, and both together."""
        return _json(
            evaluate_labels.run,
            evaluate_labels.LabelEvaluation(
                [self.world / f"{split}.txt" for split in ("test", "held-out-kinds")],
                self.labeller(method),
                embeddings=self.embeddings,
                wordnet=self.world,
                json=True,
            ),
        )


def _optimizer(encoder: Inception) -> Optimizer:
    answering = [*encoder.auxiliary.values()]
    if encoder.classifier is not None:
        answering.append(encoder.classifier)
    slow = [each for module in answering for each in module.parameters()]
    others = {id(each) for each in slow}
    fast = [each for each in encoder.parameters() if id(each) not in others]
    return optimizer("muon", [(fast, _ENCODER_RATE), (slow, _ANSWER_RATE)], outer=answering)


def _quietly(run: Callable[[Flags], int], flags: Flags) -> str:
    """Run a command; what it printed.

    Raises:
        RuntimeError: some of its input failed, which cannot be here.
    """
    with redirect_stdout(io.StringIO()) as said:
        code = run(flags)
    if code:
        raise RuntimeError(f"{type(flags).__name__} failed")
    return said.getvalue()


def _json(run: Callable[[Flags], int], flags: Flags) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_quietly(run, flags))
    return found
