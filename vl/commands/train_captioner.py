"""`vl train captioner`: captions and photographs to a captioner."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from vl.captioning.captioner import Captioner
from vl.captioning.reward import CaptionReward
from vl.captioning.search import SearchSettings
from vl.captioning.setup import (
    Names,
    Phase,
    Shown,
    from_captioner,
    on_embeddings,
    on_photographs,
    self_critical,
)
from vl.captioning.training import CaptionerTask, Criterion, make_validator, rows_only
from vl.commands.bounds import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Probability,
)
from vl.data.batches import CaptionBatches
from vl.data.captions.captions import CaptionedImage, read_captions
from vl.data.captions.ptb.tokens import words
from vl.data.captions.vocabulary import Vocabulary
from vl.data.choices import LstmCell, Optimizer, Resize, SamplingDecay, Schedule
from vl.decoders.scheduled_sampling import sampling_schedule
from vl.decoders.show_and_tell import ShowAndTell
from vl.devices import resolve_precision
from vl.encoding.embedder import Embedder
from vl.encoding.pretrained import load_encoder
from vl.training.loop import (
    CheckpointConfig,
    StepConfig,
    Validation,
    ValidationConfig,
    train,
)
from vl.training.optimizers import optimizer, schedule
from vl.training.parallel import Processes, process_group

_log = logging.getLogger(__name__)
BUNDLE = "captioner.safetensors"
# What phase 2 takes from the captioner it starts with.
_OF_PHASE_1 = (
    *("width", "hidden", "cell", "tie_word_embeddings", "dropout", "shown"),
    *("weights", "encoder", "resize"),
)


@dataclass(frozen=True)
class CaptionerTraining:
    """Train a captioner: its decoder on embeddings, then perhaps its encoder on photographs."""

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
    """The captioner of phase 1 that what comes after it begins with."""
    photographs: Path | None = None
    """Folder of the photographs (phase 2)."""
    self_critical: bool = False
    """After phase 1: learn from the decoder's own captions and what they score (Rennie 2017)."""
    bleu_reward: NonNegativeFloat = 2.0
    """Weight of BLEU-4 beside CIDEr-D in what the decoder's own captions score."""
    force: bool = False
    """Begin phase 2 without a phase 1; the untrained decoder's gradients ruin the encoder."""
    min_count: PositiveInt = 5
    """Times a word must come in the training captions; 5 in the paper, 4 in im2txt."""
    width: PositiveInt = 512
    """Of the word embedding; 512 in im2txt."""
    hidden: PositiveInt = 512
    """Of the LSTM; 512 in the paper and in im2txt."""
    shown: Shown = "standardised"
    """Embeddings as the decoder sees them: less their mean, in units of deviation; or as made."""
    cell: LstmCell = "im2txt"
    """The LSTM: im2txt's, or the paper's without biases and output tanh."""
    tie_word_embeddings: bool = False
    """Whether the word embedding is used again before the softmax."""
    dropout: Probability = 0.3
    """On the LSTM's input and output; 0.3 in im2txt."""
    smoothing: Probability = 0.0
    """Label smoothing; none as published."""
    own_words: Probability = 0.0
    """Scheduled sampling: the share of its own words that the decoder is given in the end."""
    own_words_decay: SamplingDecay = "linear"
    """Scheduled sampling: how the true words' share falls (Bengio et al. 2015)."""
    optimizer: Optimizer = "adam"
    """AdamW, Muon, or plain gradient descent as published (im2txt: rate 2.0, batch 32)."""
    rate: PositiveFloat = 1e-3
    """Learning rate at first; Kingma and Ba 2015 for Adam."""
    encoder_rate: PositiveFloat = 1e-5
    """Learning rate of the encoder in phase 2; a hundredth of the decoder's."""
    weight_decay: NonNegativeFloat = 0.0
    """Of matrices, not biases: decoupled with adam, L2 in the gradient with sgd; none published."""
    schedule: Schedule = "cosine"
    """Of the rate; im2txt's is a staircase."""
    warm_up: NonNegativeInt = 200
    """Steps over which the rate first climbs."""
    stair_epochs: PositiveFloat = 8
    """Epochs between stairs of 0.5; 8 in im2txt."""
    clip: PositiveFloat = 5.0
    """Greatest norm of the gradient; 5.0 in im2txt."""
    average: Probability = 0.999
    """Decay of the running mean of the weights, which is what is kept; 0 keeps the last weights."""
    epochs: PositiveInt = 12
    """Times the captions are seen at most."""
    batch_size: PositiveInt = 128
    """Captions in a batch; photographs with all their captions after phase 1; 32 in im2txt."""
    criterion: Criterion = "bleu-4"
    """What on the development split says which epoch is the best."""
    patience: PositiveInt = 3
    """Epochs without a better one after which training stops."""
    beam: int = 3
    """Of the search that judges; 3 in im2txt. Kept in the captioner."""
    length_power: float = 0.0
    """Length normalisation of the search; kept in the captioner."""
    resize: Resize = "squash"
    """How a photograph becomes a square (phase 2; phase 1 takes the embeddings')."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Of the forward pass; auto takes bfloat16 where this machine is faster at it."""
    device: str = "cpu"
    """cpu or cuda; torchrun starts one process a device."""
    seed: int = 0
    """Of the first weights, the order and the dropout."""
    resume: bool = False
    """Go on with the run in the folder."""
    save_seconds: NonNegativeFloat = 60.0
    """Between checkpoints; what a kill costs at most."""


def run(flags: CaptionerTraining) -> int:
    """Train."""
    _check(flags)
    search = SearchSettings(num_beams=flags.beam, length_penalty=flags.length_power)
    training = read_captions(flags.captions, split=flags.train_split, images=flags.train_images)
    development = read_captions(
        flags.dev_captions or flags.captions, split=flags.dev_split, images=flags.dev_images
    )
    vocabulary = Vocabulary.counted(training, minimum=flags.min_count, evaluation=development)
    with process_group(flags.device) as processes:
        torch.manual_seed(flags.seed)  # the same first weights in every process
        precision = resolve_precision(flags.precision, processes.device)
        if processes.first:
            _log.info(
                "%d training images, %d development images, %d words, %s",
                len(training),
                len(development),
                len(vocabulary),
                precision,
            )
        names = Names(
            [image.file_name for image in training], [image.file_name for image in development]
        )
        phase = _phase(flags, names, vocabulary, processes.device)
        splits = _Splits(training, development, vocabulary)
        return _train(flags, phase, splits, search, processes, bfloat16=precision == "bfloat16")


class _Splits(NamedTuple):
    training: Sequence[CaptionedImage]
    development: Sequence[CaptionedImage]
    vocabulary: Vocabulary

    def encoded(self, images: Sequence[CaptionedImage]) -> list[list[list[int]]]:
        """For each image its captions as ids."""
        return [
            [self.vocabulary.encode(words(caption)) for caption in image.captions]
            for image in images
        ]


def _check(flags: CaptionerTraining) -> None:
    """Refuse what cannot be meant, before anything is read."""
    if flags.dev_captions is None and flags.dev_split is None and flags.dev_images is None:
        raise ValueError(
            "a development split is wanted, which says when to stop: "
            "--dev-split NAME, --dev-images FILE or --dev-captions FILE"
        )
    if flags.finetune_encoder:
        if flags.self_critical:
            raise ValueError("--finetune-encoder and --self-critical are phases of their own")
        if flags.photographs is None:
            raise ValueError("--finetune-encoder wants --photographs FOLDER")
        if flags.start is None and not flags.force:
            raise ValueError(
                "phase 2 (--finetune-encoder) begins with the captioner of phase 1: give it with "
                "--start, or --force to ruin the encoder knowingly"
            )
        if flags.start is not None:
            _check_left_alone(flags)
    elif flags.embeddings is None:
        raise ValueError("phase 1 wants --embeddings FILE; `vl embed` makes it")
    elif flags.self_critical:
        if flags.start is None:
            raise ValueError("--self-critical wants --start, the captioner that phase 1 made")
        _check_left_alone(flags)
    elif flags.start is not None:
        raise ValueError("--start belongs to --finetune-encoder and to --self-critical")


def _check_left_alone(flags: CaptionerTraining) -> None:
    """Refuse what the captioner of phase 1 has said already."""
    given = [
        f"--{field.name}"
        for field in fields(flags)
        if field.name in _OF_PHASE_1 and getattr(flags, field.name) != field.default
    ]
    if len(given) == 1:
        raise ValueError(f"{given[0]} has no effect with --start: the captioner has its own")
    if given:
        named = f"{', '.join(given[:-1])} and {given[-1]}"
        raise ValueError(f"{named} have no effect with --start: the captioner has its own")


def _phase(
    flags: CaptionerTraining, names: Names, vocabulary: Vocabulary, device: torch.device
) -> Phase:
    def decoder(image_width: int) -> ShowAndTell:
        return ShowAndTell(
            image_width=image_width,
            vocabulary_size=len(vocabulary),
            embedding_size=flags.width,
            hidden_size=flags.hidden,
            cell=flags.cell,
            dropout=flags.dropout,
            tie_word_embeddings=flags.tie_word_embeddings,
        )

    held = flags.embeddings
    if held is not None and flags.self_critical and flags.start is not None:
        return self_critical(flags.start, vocabulary, embeddings=held, names=names, device=device)
    if held is not None and not flags.finetune_encoder:
        return on_embeddings(
            held,
            names,
            encoder=flags.encoder,
            weights=flags.weights,
            decoder=decoder,
            shown=flags.shown,
            device=device,
        )
    assert flags.photographs is not None  # _check
    if flags.start is not None:
        return from_captioner(
            flags.start, vocabulary, folder=flags.photographs, names=names, device=device
        )
    encoder = load_encoder(flags.encoder, flags.weights)
    return on_photographs(
        flags.photographs,
        names,
        embedder=Embedder(
            encoder,
            encoder_name=flags.encoder,
            views=("plain", "flip"),
            resize=flags.resize,
            device=device,
        ),
        decoder=decoder(encoder.width),
    )


def _train(
    flags: CaptionerTraining,
    phase: Phase,
    splits: _Splits,
    search: SearchSettings,
    processes: Processes,
    *,
    bfloat16: bool,
) -> int:
    settings = asdict(flags)
    for key in ("resume", "save_seconds", "force", "out"):
        del settings[key]
    settings = {key: str(v) if isinstance(v, Path) else v for key, v in settings.items()}
    encoded = splits.encoded(splits.training)
    batches = CaptionBatches(
        phase.source,
        encoded,
        batch_size=flags.batch_size,
        unit="image" if flags.finetune_encoder or flags.self_critical else "caption",
        seed=flags.seed,
        rank=processes.rank,
        world_size=processes.size,
    )
    steps = flags.epochs * len(batches)
    own = sampling_schedule(flags.own_words_decay, max_probability=flags.own_words, num_steps=steps)
    model = CaptionerTask(
        phase.decoder,
        phase.embedder.encoder if flags.finetune_encoder else None,
        word_sampler=own if flags.own_words else None,
        smoothing=flags.smoothing,
        reward=CaptionReward(encoded, bleu_weight=flags.bleu_reward)
        if flags.self_critical
        else None,
    )

    def captioner(model: CaptionerTask, figures: dict[str, float] | None = None) -> Captioner:
        return Captioner(
            phase.embedder.with_encoder(model.encoder) if model.encoder else phase.embedder,
            [copy.deepcopy(model.decoder)],
            splits.vocabulary,
            search=search,
            training={
                "settings": settings,
                "images": len(splits.training),
                "development": figures or {},
            },
        )

    def save(model: CaptionerTask, result: Validation | None) -> None:
        captioner(model, result.metrics if result else None).save(flags.out / BUNDLE)

    references = {
        image.file_name: [words(caption) for caption in image.captions]
        for image in splits.development
    }
    held = splits.encoded(splits.development)
    validate = make_validator(
        captioner,
        CaptionBatches(rows_only, held, batch_size=512, seed=None),
        references,
        phase.development,
        criterion=flags.criterion,
    )
    parts = [(list(model.decoder.parameters()), flags.rate)]
    if model.encoder is not None:
        trained = [each for each in model.encoder.parameters() if each.requires_grad]
        parts.append((trained, flags.encoder_rate))
    torch.manual_seed(flags.seed + 1 + processes.rank)  # each process its own dropout
    fitted = train(
        model,
        batches,
        optimizer=optimizer(
            flags.optimizer,
            parts,
            weight_decay=flags.weight_decay,
            outer=(
                phase.decoder.image_embedding,
                phase.decoder.word_embedding,
                phase.decoder.output,
            ),
        ),
        schedule=schedule(
            flags.schedule,
            steps=steps,
            warmup_steps=flags.warm_up,
            decay_every=max(1, round(flags.stair_epochs * len(batches))),
        ),
        epochs=flags.epochs,
        checkpoints=CheckpointConfig(flags.out, settings, flags.save_seconds, flags.resume),
        steps=StepConfig(
            processes,
            grad_clip=flags.clip,
            bfloat16=bfloat16,
            ema_decay=flags.average or None,
        ),
        validation=ValidationConfig(validate, save, flags.patience),
    )
    if processes.first and fitted.best:
        metrics = "  ".join(f"{name} {value:.4g}" for name, value in fitted.best.metrics.items())
        _log.info("best of %d epochs: %d  %s", fitted.epochs, fitted.best_epoch, metrics)
        print(flags.out / BUNDLE)
    return 0
