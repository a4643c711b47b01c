"""Stages of the demonstration: the whole system trained on the drawn world.

Everything but the encoder's multi-attribute training (vl/demo/encoder.py) is the library as users
have it. Each stage leaves files for the next.
"""

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vl.captioning.captioner import Captioner
from vl.captioning.recipe import (
    CAPTIONER_FILE,
    CaptionerRunConfig,
    CaptionerTraining,
    CaptionFiles,
    DecoderConfig,
    TeacherForcingRecipe,
)
from vl.captioning.training import train_captioner
from vl.data.captions.captions import ImageId
from vl.data.embedding_writer import EmbeddingWriter
from vl.data.embeddings import load_embeddings
from vl.data.images.decode import decode_uint8
from vl.data.world.files import World, draw_world, read_ground_truth
from vl.data.world.kinds import SEEN
from vl.data.world.scenes import EVALUATION_SPLITS, SPLITS, Scene, Split
from vl.demo.encoder import (
    IMAGE_HEADS,
    WorldBatches,
    WorldTask,
    head_accuracy,
    init_batch_norm_bias,
)
from vl.devices import resolve_device, resolve_precision
from vl.encoders.inception import Inception
from vl.encoders.table import create_encoder
from vl.encoding import encoder_file
from vl.encoding.embedder import Embedder
from vl.encoding.embedding import embed_files
from vl.encoding.encoder_file import TrainedEncoder
from vl.evaluation.evaluate import evaluate_files
from vl.evaluation.read import read_results, write_results
from vl.evaluation.request import EvaluationRequest
from vl.labelling.evaluation import evaluate_labels
from vl.labelling.evaluation_results import LabelEvaluation
from vl.labelling.labeller import Labeller
from vl.labelling.recipe import (
    LABELLER_FILE,
    ConseConfig,
    EncoderConfig,
    LabellerRunConfig,
    LabellerTraining,
    LabelSpaceConfig,
    Word2VecSettings,
)
from vl.labelling.training import train_labeller
from vl.labelling.word_training import train_word_vectors
from vl.training.loop import CheckpointConfig, StepConfig, ValidationConfig, train
from vl.training.optimizers import optimizer, schedule
from vl.training.parallel import Processes
from vl.training.selection import Validation

_log = logging.getLogger(__name__)

ENCODER = "inception_v1_bn"
WIDTH_FACTOR = 0.25
METHODS = ("devise", "conse", "random")
_BATCH_SIZE = 128
_ENCODER_LEARNING_RATE = 0.03
_HEAD_LEARNING_RATE = 0.003  # slow heads make the embedding easier to read
_CELL = 16  # pixels: the stride of the encoder's auxiliary classifiers


@dataclass(frozen=True)
class DemoConfig:
    """Size of the demonstration."""

    training_images: int = 8000
    evaluation_images: int = 400  # of each other split
    image_size: int = 64  # pixels, a multiple of 16
    text_words: int = 300_000
    encoder_epochs: int = 11
    captioner_epochs: int = 3


class Demo:
    """The demonstration's stages and files.

    In the folder of an interrupted run of the same settings it goes on from there.
    """

    def __init__(
        self, folder: Path, *, config: DemoConfig, seed: int = 0, device: str = "auto"
    ) -> None:
        self.folder, self.seed, self.device = folder, seed, resolve_device(device)
        self.config = config
        self.image_counts = dict.fromkeys(SPLITS, config.evaluation_images)
        self.image_counts["training"] = config.training_images
        self.world = folder / "world"
        self.words = folder / "words.bin"
        self.encoder = folder / "encoder" / "encoder.safetensors"
        self.embeddings = folder / "images.npy"  # by path in the world, as lists of classes
        self.caption_embeddings = folder / "caption-images.npy"  # by file name, as captions
        self.captioner = folder / "captioner" / CAPTIONER_FILE

    def run(self) -> dict[str, float]:
        """Run all stages, logging their durations and warnings alone; returns seconds by stage."""
        stages = {
            "draw": self.draw,
            "train words": self.train_words,
            "train encoder": self.train_encoder,
            "embed": self.embed,
            "train labellers": self.train_labellers,
            "train captioner": self.train_captioner,
            "caption": self.caption,
        }
        logger = logging.getLogger("vl")
        seconds: dict[str, float] = {}
        for name, stage in stages.items():
            start, level = time.monotonic(), logger.level
            logger.setLevel(logging.WARNING)
            try:
                stage()
            finally:
                logger.setLevel(level)
            seconds[name] = time.monotonic() - start
            _log.info("%s: %.0f s", name, seconds[name])
        return seconds

    def labeller(self, method: str) -> Path:
        """Model file of one of ``METHODS``."""
        return self.folder / f"labeller-{method}" / LABELLER_FILE

    def results(self, split: Split) -> Path:
        """Captions of a split in COCO's results format."""
        return self.folder / f"captions-{split}.json"

    def image_folder(self, split: Split) -> Path:
        """Images of a split."""
        return self.world / "pictures" / split

    def draw(self) -> None:
        """Draw images; write captions, text and taxonomy."""
        counts, size = self.image_counts, self.config.image_size
        draw_world(self.world, World(counts, size, self.seed, self.config.text_words))

    def train_words(self) -> None:
        """Train word vectors; a single worker, for reproducibility."""
        if self.words.exists():
            return
        settings = Word2VecSettings(vector_size=100, window=5, negative=10, epochs=5, min_count=2)
        train_word_vectors([self.world / "text.txt"], self.words, settings, seed=self.seed)

    def train_encoder(self) -> None:
        """Train the multi-attribute classifier; save it with its classifier of kinds alone."""
        if self.encoder.exists():
            return
        torch.manual_seed(self.seed)
        images, scenes = self.images("training")
        network = create_encoder(
            ENCODER,
            {
                "classes": sum(IMAGE_HEADS.values()),
                "width_factor": WIDTH_FACTOR,
                "image_size": self.config.image_size,
            },
        )
        assert isinstance(network, Inception)
        init_batch_norm_bias(network)
        cells = self.config.image_size // _CELL
        batches = WorldBatches(images, scenes, cells=cells, batch_size=_BATCH_SIZE, seed=self.seed)
        model = WorldTask(network, scenes).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form
        development = self.images("development")

        def validate(model: WorldTask) -> Validation:
            accuracy = head_accuracy(network, *development)
            return Validation(accuracy["kind and color"], accuracy)

        steps = self.config.encoder_epochs * len(batches)
        train(
            model,
            batches,
            optimizer=_optimizer(network),
            schedule=schedule("cosine", steps=steps, warmup_steps=min(60, steps // 10)),
            epochs=self.config.encoder_epochs,
            checkpoints=CheckpointConfig(
                self.encoder.parent,
                {"seed": self.seed},
                seconds=math.inf,
                resume=_has_checkpoint(self.encoder),
            ),
            steps=StepConfig(
                Processes(device=self.device),
                bfloat16=resolve_precision("auto", self.device) == "bfloat16",
            ),
            validation=ValidationConfig(validate),
        )
        network.auxiliary.clear()
        assert network.classifier is not None
        classifier = nn.Linear(network.width, len(SEEN))
        classifier.load_state_dict(
            {key: value[: len(SEEN)] for key, value in network.classifier.state_dict().items()}
        )
        network.classifier = classifier
        training = {"drawn world": self.seed}
        encoder_file.save(self.encoder, TrainedEncoder(network.cpu(), ENCODER, SEEN, training))

    def embed(self) -> None:
        """Embed all images, under their paths for labels and their file names for captions."""
        embedder = Embedder.load(
            ENCODER, weights=self.encoder, device=self.device, batch_size=_BATCH_SIZE
        )
        embed_files([self.world], self.embeddings, embedder)
        embeddings = load_embeddings(self.embeddings)
        writer = EmbeddingWriter(self.caption_embeddings, embeddings.provenance)
        names = embeddings.names
        writer.add([Path(name).name for name in names], embeddings.select(names))
        writer.finish()

    def train_labellers(self) -> None:
        """Train DeViSE, ConSE, and as a control DeViSE on random word vectors."""
        for method in METHODS:
            model = self.labeller(method)
            if model.exists():
                continue
            training = LabellerTraining(
                images=[self.world / "training.txt"],
                method="conse" if method == "conse" else "devise",
                encoder=EncoderConfig(
                    encoder=ENCODER, weights=self.encoder, embeddings=self.embeddings
                ),
                space=LabelSpaceConfig(
                    word_vectors=self.words, random_word_vectors=method == "random"
                ),
                conse=ConseConfig(
                    classes=self.world / "kinds-seen.txt" if method == "conse" else None
                ),
                run=LabellerRunConfig(
                    output_dir=model.parent,
                    device=str(self.device),
                    seed=self.seed,
                    resume=_has_checkpoint(model),
                ),
            )
            train_labeller(training)

    def train_captioner(self) -> None:
        """Train the decoder on embeddings."""
        train_captioner(
            CaptionerTraining(
                data=CaptionFiles(
                    captions=self.world / "captions-training.json",
                    dev_captions=self.world / "captions-development.json",
                    min_count=1,
                ),
                embeddings=self.caption_embeddings,
                encoder=ENCODER,
                weights=self.encoder,
                decoder=DecoderConfig(embedding_size=128, hidden_size=256, dropout=0.1),
                recipe=TeacherForcingRecipe(
                    optimizer="muon",
                    learning_rate=0.01,
                    warmup_steps=60,
                    ema_decay=0.99,
                    epochs=self.config.captioner_epochs,
                    batch_size=250,
                ),
                run=CaptionerRunConfig(
                    output_dir=self.captioner.parent,
                    precision="auto",
                    device=str(self.device),
                    seed=self.seed,
                    checkpoint_seconds=3600,
                    resume=_has_checkpoint(self.captioner),  # the file is there from an epoch on
                ),
            )
        )

    def caption(self) -> None:
        """Caption the evaluation splits."""
        captioner = Captioner.load(self.captioner, device=self.device)
        for split in EVALUATION_SPLITS:
            paths = sorted(self.image_folder(split).iterdir())
            captions = captioner(paths, batch_size=_BATCH_SIZE)
            results: dict[ImageId, str] = {
                path.name: best.text for path, (best, *_) in zip(paths, captions, strict=True)
            }
            write_results(self.results(split), results)

    def images(self, split: Split) -> tuple[Tensor, list[Scene]]:
        """Images of a split, ``(N, 3, S, S)`` uint8, and their scenes."""
        scenes = read_ground_truth(self.world / f"truth-{split}.jsonl")
        folder = self.image_folder(split)
        images = [decode_uint8((folder / name).read_bytes(), name) for name in scenes]
        return torch.stack(images), list(scenes.values())

    def captions(self, split: Split) -> dict[str, str]:
        """Captions of a split by image name."""
        return {str(name): text for name, text in read_results(self.results(split)).items()}

    def bleu_4(self, split: Split) -> float:
        """BLEU-4 of the captions of a split, times 100."""
        request = EvaluationRequest(
            (self.results(split),),
            (self.world / f"captions-{split}.json",),
            metrics=("bleu",),
            num_resamples=0,
        )
        scores = {score.name: score.value for score in evaluate_files(request)[0].corpus_scores}
        return scores["BLEU-4"]

    def label_scores(self, method: str) -> LabelEvaluation:
        """Evaluation of a labeller on seen kinds, unseen kinds, and both together."""
        return evaluate_labels(
            [self.world / f"{split}.txt" for split in ("test", "held-out-kinds")],
            Labeller.load(self.labeller(method), device=self.device),
            embeddings=self.embeddings,
            wordnet=self.world,
        )


def _has_checkpoint(model: Path) -> bool:
    """Whether the training of a model file was interrupted after a checkpoint."""
    return (model.parent / "state.pt").exists()


def _optimizer(network: Inception) -> Optimizer:
    """Muon, with a lower learning rate for the classifiers."""
    heads = [*network.auxiliary.values()]
    if network.classifier is not None:
        heads.append(network.classifier)
    slow = [parameter for head in heads for parameter in head.parameters()]
    ids = {id(parameter) for parameter in slow}
    fast = [parameter for parameter in network.parameters() if id(parameter) not in ids]
    return optimizer(
        "muon", [(fast, _ENCODER_LEARNING_RATE), (slow, _HEAD_LEARNING_RATE)], outer=heads
    )
