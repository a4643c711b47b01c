"""`vl train captioner`: captions and photographs to a captioner."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from data import embeddings as cache
from data.batches import CaptionBatches, one_view
from data.captions import CaptionedImage, check_disjoint, read_captions
from data.images import Fit
from data.tokens import words
from data.vocabulary import Vocabulary
from decoders.scheduled_sampling import Decay, own_word
from decoders.show_and_tell import Cell, Output, ShowAndTell
from encoders.table import Network
from vl.captioner import Captioner, Search
from vl.captioner_training import CaptionTraining, Criterion, judge_of, photographs, rows_only
from vl.extractor import Extractor, bfloat16_pays
from vl.processes import Processes, joined
from vl.schedules import Shape, schedule
from vl.trained_encoder import check_fingerprint, trained_encoder
from vl.training import Judgement, fit

_log = logging.getLogger(__name__)
BUNDLE = "captioner.safetensors"


@dataclass(frozen=True)
class CaptionerTraining:
    """Captions and photographs to a captioner: its decoder, then perhaps its encoder as well."""

    captions: Path
    """Captions: COCO's JSON, Flickr8k's token file, or Karpathy's JSON."""
    out: Path
    """Folder of the run; gets captioner.safetensors (the best so far), log.jsonl, tensorboard/."""
    embeddings: Path | None = None
    """Of `vl embed`, of all images of both splits (phase 1)."""
    weights: Path | None = None
    """The encoder's weights, which go into the captioner; those that made the embeddings."""
    encoder: str = "inception_v1"
    """The encoder's name."""
    train_split: str | None = None
    """The split of the captions to train on, where the file names splits."""
    train_images: Path | None = None
    """Names of the images to train on, one a line, where a list says the split."""
    dev_captions: Path | None = None
    """Captions of the development split, where they are in another file."""
    dev_split: str | None = None
    """The development split, where the file names splits."""
    dev_images: Path | None = None
    """Names of the images of the development split."""
    finetune_encoder: bool = False
    """Phase 2: train encoder and decoder together, from photographs; goes on from --start."""
    start: Path | None = None
    """The captioner of phase 1 that phase 2 begins with."""
    photographs: Path | None = None
    """Folder of the photographs (phase 2)."""
    force: bool = False
    """Begin phase 2 without a phase 1; the untrained decoder's gradients ruin the encoder."""
    min_count: int = 5
    """Times a word must come in the training captions; 5 in the paper, 4 in im2txt."""
    width: int = 512
    """Of the word embedding; 512 in im2txt."""
    hidden: int = 512
    """Of the LSTM; 512 in the paper and in im2txt."""
    cell: Cell = "ordinary"
    """The LSTM: im2txt's, or the paper's without biases and output tanh."""
    output: Output = "free"
    """Whether the word embedding is used again before the softmax."""
    dropout: float = 0.3
    """On the LSTM's input and output; 0.3 in im2txt."""
    smoothing: float = 0.0
    """Label smoothing; none as published."""
    own_words: float = 0.0
    """Scheduled sampling: the share of its own words that the decoder is given in the end."""
    own_words_decay: Decay = "linear"
    """Scheduled sampling: how the true words' share falls (Bengio et al. 2015)."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """AdamW, or plain gradient descent as published (im2txt: rate 2.0, batch 32)."""
    rate: float = 1e-3
    """Learning rate at first; Kingma and Ba 2015 for Adam."""
    encoder_rate: float = 1e-5
    """Learning rate of the encoder in phase 2; a hundredth of the decoder's."""
    weight_decay: float = 0.0
    """Decoupled, of the matrices; none as published."""
    schedule: Shape = "cosine"
    """Of the rate; im2txt's is a staircase."""
    warm_up: int = 200
    """Steps over which the rate first climbs."""
    stair_epochs: float = 8
    """Epochs between stairs of 0.5; 8 in im2txt."""
    clip: float = 5.0
    """Greatest norm of the gradient; 5.0 in im2txt."""
    average: float = 0.999
    """Decay of the running mean of the weights, which is what is kept; 0 keeps the last weights."""
    epochs: int = 12
    """Times the captions are seen at most."""
    batch_size: int = 128
    """Captions in a batch, or photographs with all their captions in phase 2; 32 in im2txt."""
    criterion: Criterion = "bleu-4"
    """What on the development split says which epoch is the best."""
    patience: int = 3
    """Epochs without a better one after which training stops."""
    beam: int = 3
    """Of the search that judges; 3 in im2txt. Kept in the captioner."""
    length_power: float = 0.0
    """Length normalisation of the search; kept in the captioner."""
    fit: Fit = "squash"
    """How a photograph becomes a square (phase 2; phase 1 takes the embeddings')."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Of the forward pass; auto takes bfloat16 where this machine is faster at it."""
    device: str = "cpu"
    """cpu or cuda; torchrun starts one process a device."""
    seed: int = 0
    """Of the first weights, the order and the dropout."""
    resume: bool = False
    """Go on with the run in the folder."""
    save_seconds: float = 60.0
    """Between checkpoints; what a kill costs at most."""


def run(flags: CaptionerTraining) -> int:
    """Train."""
    _check(flags)
    training = _split(flags.captions, flags.train_split, flags.train_images)
    development = _split(flags.dev_captions or flags.captions, flags.dev_split, flags.dev_images)
    check_disjoint(training, development)
    vocabulary = Vocabulary.counted(training, minimum=flags.min_count, evaluation=development)
    with joined(flags.device) as processes:
        torch.manual_seed(flags.seed)  # the same first weights in every process
        bfloat16 = flags.precision == "bfloat16"
        if flags.precision == "auto":
            bfloat16 = bfloat16_pays(processes.device)
        if processes.first:
            _log.info(
                "%d training images, %d development images, %d words, %s",
                len(training),
                len(development),
                len(vocabulary),
                "bfloat16" if bfloat16 else "float32",
            )
        settings = asdict(flags)
        for key in ("resume", "save_seconds", "force", "out"):
            del settings[key]
        settings = {key: str(v) if isinstance(v, Path) else v for key, v in settings.items()}
        phase = _second if flags.finetune_encoder else _first
        plan = phase(flags, training, development, vocabulary, processes)
        return _train(flags, plan, settings, processes, bfloat16=bfloat16)


@dataclass(frozen=True)
class _Plan:
    """What the two phases do differently."""

    model: CaptionTraining
    encoder: Network
    views: Sequence[str]
    fit: Fit
    vocabulary: Vocabulary
    batches: CaptionBatches
    dev_embeddings: Any  # CaptionTraining -> (images, D)
    development: Sequence[CaptionedImage]
    training_images: int


def _check(flags: CaptionerTraining) -> None:
    if flags.finetune_encoder:
        if flags.photographs is None:
            raise ValueError("--finetune-encoder wants --photographs FOLDER")
        if flags.start is None and not flags.force:
            raise ValueError(
                "phase 2 (--finetune-encoder) begins with the captioner of phase 1: give it with "
                "--start, or --force to ruin the encoder knowingly"
            )
    elif flags.embeddings is None:
        raise ValueError("phase 1 wants --embeddings FILE; `vl embed` makes it")
    elif flags.start is not None:
        raise ValueError("--start belongs to phase 2 (--finetune-encoder)")


def _split(path: Path, split: str | None, images: Path | None) -> list[CaptionedImage]:
    return list(read_captions(path, split=split, images=images))


def _first(
    flags: CaptionerTraining,
    training: Sequence[CaptionedImage],
    development: Sequence[CaptionedImage],
    vocabulary: Vocabulary,
    processes: Processes,
) -> _Plan:
    """Phase 1: the decoder, on cached embeddings."""
    assert flags.embeddings is not None  # _check
    held = cache.load(flags.embeddings)
    encoder = trained_encoder(flags.encoder, flags.weights)
    check_fingerprint(encoder, held.making.fingerprint, made=flags.embeddings)
    vectors = held.of([image.file_name for image in training])
    dev_vectors = held.of([image.file_name for image in development]).mean(1).to(processes.device)
    decoder = _decoder(flags, held.making.width, vocabulary)
    return _Plan(
        model=CaptionTraining(decoder, **_loss_settings(flags, _steps(flags, training, processes))),
        encoder=encoder,
        views=held.making.views,
        fit="crop" if held.making.fit == "crop" else "squash",
        vocabulary=vocabulary,
        batches=CaptionBatches(
            one_view(vectors),
            _encoded(training, vocabulary),
            batch_size=flags.batch_size,
            seed=flags.seed,
            rank=processes.rank,
            processes=processes.size,
        ),
        dev_embeddings=lambda model: dev_vectors,
        development=development,
        training_images=len(training),
    )


def _second(
    flags: CaptionerTraining,
    training: Sequence[CaptionedImage],
    development: Sequence[CaptionedImage],
    vocabulary: Vocabulary,
    processes: Processes,
) -> _Plan:
    """Phase 2: encoder and decoder together, on photographs."""
    assert flags.photographs is not None  # _check
    views: Sequence[str] = ("plain", "flip")
    how: Fit = flags.fit
    if flags.start is not None:
        captioner = Captioner.load(flags.start)
        if captioner.vocabulary != vocabulary:
            raise ValueError(
                f"{flags.start} has another vocabulary ({len(captioner.vocabulary)} words) than "
                f"these captions give ({len(vocabulary)} words)"
            )
        if len(captioner.decoders) != 1:
            raise ValueError(f"{flags.start} has several decoders; phase 2 trains one")
        encoder, decoder = captioner.encoder, captioner.decoders[0]
        views, how = captioner.views, captioner.fit
    else:
        encoder = trained_encoder(flags.encoder, flags.weights)
        decoder = _decoder(flags, encoder.width, vocabulary)
    encoder.requires_grad_(True).to(memory_format=torch.channels_last)
    paths = [flags.photographs / image.file_name for image in training]
    dev_paths = [flags.photographs / image.file_name for image in development]
    missing = [path for path in [*paths, *dev_paths] if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} photographs are missing, the first {missing[0]}")

    def dev_embeddings(model: CaptionTraining) -> Tensor:
        assert model.encoder is not None
        extractor = Extractor(model.encoder, views=views, fit=how, device=processes.device)
        parts = []
        for part in extractor.files(dev_paths):
            if part.failures:
                raise part.failures[0][1]
            parts.append(part.vectors)
        return torch.cat(parts).mean(1).to(processes.device)

    model = CaptionTraining(
        decoder, encoder, **_loss_settings(flags, _steps(flags, training, processes))
    )
    return _Plan(
        model=model,
        encoder=encoder,
        views=views,
        fit=how,
        vocabulary=vocabulary,
        batches=CaptionBatches(
            photographs(paths, side=encoder.image_size, fit=how, views=views),
            _encoded(training, vocabulary),
            batch_size=flags.batch_size,
            unit="image",
            seed=flags.seed,
            rank=processes.rank,
            processes=processes.size,
        ),
        dev_embeddings=dev_embeddings,
        development=development,
        training_images=len(training),
    )


def _train(
    flags: CaptionerTraining,
    plan: _Plan,
    settings: dict[str, Any],
    processes: Processes,
    *,
    bfloat16: bool,
) -> int:
    references = {
        image.file_name: [words(caption) for caption in image.captions]
        for image in plan.development
    }
    search = Search(beam=flags.beam, length_power=flags.length_power)

    def captioner(model: CaptionTraining, figures: dict[str, float] | None = None) -> Captioner:
        encoder = model.encoder or plan.encoder
        return Captioner(
            encoder,
            [copy.deepcopy(model.decoder)],
            plan.vocabulary,
            encoder_name=flags.encoder,
            views=plan.views,
            fit=plan.fit,
            search=search,
            training={
                "settings": settings,
                "images": plan.training_images,
                "development": figures or {},
            },
            device=processes.device,
        )

    def keep(model: nn.Module, judgement: Judgement | None) -> None:
        assert isinstance(model, CaptionTraining)
        captioner(model, judgement.figures if judgement else None).save(flags.out / BUNDLE)

    torch.manual_seed(flags.seed + 1 + processes.rank)  # each process its own dropout
    per_epoch = len(plan.batches)
    fitted = fit(
        plan.model,
        plan.batches,
        optimizer=_optimizer(flags, plan.model),
        schedule=schedule(
            flags.schedule,
            steps=flags.epochs * per_epoch,
            warm_up=flags.warm_up,
            every=max(1, round(flags.stair_epochs * per_epoch)),
        ),
        epochs=flags.epochs,
        folder=flags.out,
        settings={**settings, "bfloat16": bfloat16},
        processes=processes,
        clip=flags.clip,
        bfloat16=bfloat16,
        average=flags.average or None,
        judge=judge_of(
            captioner,
            CaptionBatches(
                rows_only, _encoded(plan.development, plan.vocabulary), batch_size=512, seed=None
            ),
            references,
            plan.dev_embeddings,
            criterion=flags.criterion,
        ),
        keep=keep,
        patience=flags.patience,
        resume=flags.resume,
        save_seconds=flags.save_seconds,
    )
    if processes.first and fitted.best:
        figures = "  ".join(f"{name} {value:.4g}" for name, value in fitted.best.figures.items())
        _log.info("best of %d epochs: %d  %s", fitted.epochs, fitted.best_epoch, figures)
        print(flags.out / BUNDLE)
    return 0


def _decoder(flags: CaptionerTraining, image_width: int, vocabulary: Vocabulary) -> ShowAndTell:
    return ShowAndTell(
        image_width=image_width,
        vocabulary_size=len(vocabulary),
        width=flags.width,
        hidden=flags.hidden,
        cell=flags.cell,
        dropout=flags.dropout,
        output=flags.output,
    )


def _steps(
    flags: CaptionerTraining, training: Sequence[CaptionedImage], processes: Processes
) -> int:
    units = len(training)
    if not flags.finetune_encoder:
        units = sum(len(image.captions) for image in training)
    return max(1, flags.epochs * units // flags.batch_size)


def _loss_settings(flags: CaptionerTraining, steps: int) -> dict[str, Any]:
    own = None
    if flags.own_words > 0:
        own = own_word(flags.own_words_decay, most=flags.own_words, steps=steps)
    return {"own_word": own, "smoothing": flags.smoothing}


def _encoded(images: Sequence[CaptionedImage], vocabulary: Vocabulary) -> list[list[list[int]]]:
    return [[vocabulary.encode(words(caption)) for caption in image.captions] for image in images]


def _optimizer(flags: CaptionerTraining, model: CaptionTraining) -> Optimizer:
    groups = [{"params": list(model.decoder.parameters()), "lr": flags.rate}]
    if model.encoder is not None:
        groups.append({"params": list(model.encoder.parameters()), "lr": flags.encoder_rate})
    if flags.optimizer == "sgd":
        return SGD(groups, lr=flags.rate, weight_decay=flags.weight_decay)
    return AdamW(groups, lr=flags.rate, weight_decay=flags.weight_decay)
