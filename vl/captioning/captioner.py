"""A captioner: embedder, decoders, vocabulary and search settings, in one file.

captioner = vl.Captioner.load("captioner.safetensors")
captioner(["image.jpg"])[0][0].text
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vl import bundle
from vl.captioning.search import SearchSettings
from vl.data.captions.vocabulary import Vocabulary
from vl.data.download import hub
from vl.data.errors import FormatError
from vl.data.images.decode import ImageLike
from vl.decoders import constraints
from vl.decoders.beam_search import Hypothesis, beam_search
from vl.decoders.minimum_bayes_risk import minimum_bayes_risk
from vl.decoders.show_and_tell import ShowAndTell
from vl.encoding.embedder import Embedder

KIND = "captioner"  # of file


class Caption(NamedTuple):
    """A caption of an image."""

    text: str
    log_prob: float  # nats, of the whole caption given the image, including the end word
    ended: bool  # False: cut off at the maximum length


class CaptionedBatch(NamedTuple):
    """Captions of a batch of files."""

    indices: list[int]  # of the files that were read
    captions: list[list[Caption]]  # of each of them, the best first
    failures: list[tuple[int, Exception]]  # index of each other file, and its error


class Captioner:
    """Generates captions of images.

    Args:
        embedder: images to embeddings; the decoders get the mean over its views.
        decoders: one, or an ensemble with a common vocabulary.
        vocabulary: of the decoders.
        search: default settings of the search.
        training: metadata of the decoders' training, as JSON-able values.

    Raises:
        ValueError: the parts do not match.
    """

    def __init__(
        self,
        embedder: Embedder,
        decoders: Sequence[ShowAndTell],
        vocabulary: Vocabulary,
        *,
        search: SearchSettings | None = None,
        training: dict[str, Any] | None = None,
    ) -> None:
        for decoder in decoders:
            words = decoder.vocabulary_size
            if words != len(vocabulary):
                raise ValueError(f"the decoder has {words} words, the vocabulary {len(vocabulary)}")
            if decoder.image_width != embedder.width:
                raise ValueError(
                    f"embeddings have width {embedder.width}, "
                    f"the decoder expects {decoder.image_width}"
                )
        self.embedder = embedder
        self.device = embedder.device
        self.decoders = [decoder.eval().to(self.device) for decoder in decoders]
        self.vocabulary = vocabulary
        self.search = search or SearchSettings()
        self.training = training or {}

    def __call__(
        self,
        images: Sequence[ImageLike],
        *,
        search: SearchSettings | None = None,
        n_best: int = 1,
        batch_size: int = 32,
    ) -> list[list[Caption]]:
        """Captions of each image, the best first.

        Args:
            images: paths, encoded bytes, Pillow images, uint8 arrays ``(H, W, 3)`` or pixels
                ``(3, H, W)`` in [0, 1].
            search: by default the captioner's settings.
            n_best: captions per image, at most the number of beams.
            batch_size: images in a batch; does not affect the captions.

        Raises:
            FormatError: a file is not an image.
            ValueError: ``n_best`` or ``batch_size`` out of range.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        return [
            captions
            for vectors in self.embedder.batches(images, batch_size=batch_size)
            for captions in self.describe(vectors.mean(1), search=search, n_best=n_best)
        ]

    def stream(
        self, sources: Iterable[Path | str | bytes], *, n_best: int = 1
    ) -> Iterator[CaptionedBatch]:
        """Captions of files batch by batch, while threads decode the next; none is skipped."""
        for batch in self.embedder.stream(sources):
            captions = self.describe(batch.vectors.mean(1), n_best=n_best)
            yield CaptionedBatch(batch.indices, captions, batch.failures)

    def describe(
        self, vectors: Tensor, *, search: SearchSettings | None = None, n_best: int = 1
    ) -> list[list[Caption]]:
        """Captions of embeddings ``(B, D)``, the mean over the embedder's views."""
        (search or self.search).check_n_best(n_best)
        return [
            [
                Caption(self.vocabulary.decode(best.words), best.log_prob, best.ended)
                for best in hypotheses[:n_best]
            ]
            for hypotheses in self.hypotheses(vectors, search=search)
        ]

    @torch.inference_mode()
    def hypotheses(
        self, vectors: Tensor, *, search: SearchSettings | None = None
    ) -> list[list[Hypothesis]]:
        """The result of the search for embeddings ``(B, D)``: captions as word ids."""
        search, ids = search or self.search, self.vocabulary
        vectors = vectors.to(self.device)
        step, state = constraints.ensemble(
            [(decoder.step, decoder.start(vectors)) for decoder in self.decoders]
        )
        step, state = constraints.forbid(step, state, [ids.start, ids.unknown])
        if search.min_length:
            step, state = constraints.minimum_length(
                step, state, min_length=search.min_length, end=ids.end
            )
        if search.no_repeat_ngram_size:
            step, state = constraints.no_repeated_ngram(
                step, state, size=search.no_repeat_ngram_size
            )
        batch = beam_search(
            step,
            state,
            start=ids.start,
            end=ids.end,
            num_beams=search.num_beams,
            max_length=search.max_length,
            length_penalty=search.length_penalty,
        )
        if search.rank_by == "minimum-bayes-risk":
            return [minimum_bayes_risk(hypotheses) for hypotheses in batch]
        return batch

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the captioner as one file, see ``vl.bundle.write``."""
        modules: dict[str, nn.Module] = {"encoder": self.embedder.module_for_bundle()}
        modules |= {f"decoder.{i}": decoder for i, decoder in enumerate(self.decoders)}
        config = _CaptionerConfig(
            embedder=self.embedder.config(),
            decoders=[decoder.configuration for decoder in self.decoders],
            vocabulary=list(self.vocabulary.words),
            search=self.search,
            training=self.training,
        )
        bundle.write(
            path, kind=KIND, configuration=asdict(config), modules=modules, overwrite=overwrite
        )

    @classmethod
    def load(
        cls, path: Path | str, *more: Path | str, device: torch.device | str = "cpu"
    ) -> "Captioner":
        """A captioner from its file, or an ensemble from several files.

        Raises:
            FormatError: a file is not a captioner, or its parts do not match.
            ValueError: the files' encoders, vocabularies, views or resize modes differ.
        """
        captioner, *others = members = [cls._load_file(Path(p), device) for p in (path, *more)]
        if not more:
            return captioner
        for member, name in zip(others, more, strict=True):
            for part, ours, theirs in (
                ("vocabulary", captioner.vocabulary, member.vocabulary),
                ("encoder", captioner.embedder.fingerprint, member.embedder.fingerprint),
                ("choice of views", captioner.embedder.views, member.embedder.views),
                ("resize mode", captioner.embedder.resize, member.embedder.resize),
            ):
                if ours != theirs:
                    raise ValueError(
                        f"{name} has another {part} than {path}; they cannot form an ensemble"
                    )
        return cls(
            captioner.embedder,
            [decoder for member in members for decoder in member.decoders],
            captioner.vocabulary,
            search=captioner.search,
            training={"members": [member.training for member in members]},
        )

    @classmethod
    def from_pretrained(
        cls,
        where: Path | str,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: Path | str | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        device: torch.device | str = "cpu",
    ) -> "Captioner":
        """A captioner from a file, a folder, or the Hugging Face Hub: ``"owner/name"``.

        The arguments and errors are those of ``vl.data.download.hub.find_model`` and of ``load``.
        """
        path = hub.find_model(
            where,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
        )
        return cls.load(path, device=device)

    save_pretrained = hub.save_pretrained
    push_to_hub = hub.push_to_hub

    @property
    def encoder_name(self) -> str:
        """Of the encoder, in the table of encoders."""
        return self.embedder.encoder_name

    @classmethod
    def _load_file(cls, path: Path, device: torch.device | str) -> "Captioner":
        file = bundle.read(path, kind=KIND)
        config = bundle.parse(file, _CaptionerConfig)
        names = [f"decoder.{index}" for index in range(len(config.decoders))]
        bundle.check_nothing_left(file, ["encoder", *names])
        decoders = [
            bundle.build(file, name, partial(ShowAndTell, **decoder))
            for name, decoder in zip(names, config.decoders, strict=True)
        ]
        embedder = Embedder.from_bundle(file, device=device)
        try:
            vocabulary = Vocabulary.from_words(config.vocabulary)
            return cls(
                embedder, decoders, vocabulary, search=config.search, training=config.training
            )
        except ValueError as cause:
            raise FormatError(path, str(cause)) from cause


@dataclass(frozen=True)
class _CaptionerConfig:
    """What a captioner's file says beside its tensors."""

    embedder: dict[str, Any]
    decoders: list[dict[str, Any]]
    vocabulary: list[str]
    search: SearchSettings
    training: dict[str, Any]
