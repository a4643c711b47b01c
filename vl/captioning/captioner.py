"""Photographs to ranked sentences: encoder, decoders, vocabulary and search as one thing.

captioner = vl.Captioner.load("captioner.safetensors")
captioner([Path("photo.jpg")])[0][0].text
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vl import bundle
from vl.captioning.search import SearchSettings
from vl.data.captions.vocabulary import Vocabulary
from vl.data.errors import FormatError
from vl.data.images.decode import ImageLike
from vl.decoders import constraints as rules
from vl.decoders.beam_search import Hypothesis, beam_search
from vl.decoders.minimum_bayes_risk import minimum_bayes_risk
from vl.decoders.show_and_tell import ShowAndTell
from vl.encoding.embedder import Embedder

KIND = "captioner"


class Caption(NamedTuple):
    """A sentence for a photograph."""

    text: str
    log_prob: float  # nats, of the whole sentence given the photograph, its end included
    ended: bool  # False: it was cut off at the greatest length


class Captioner:
    """Says what is on a photograph.

    Args:
        embedder: images to embeddings; the decoders get the mean over its views.
        decoders: one or more of one vocabulary; several vote at each word.
        vocabulary: spells the decoders' words.
        search: what to do unless a call says otherwise.
        training: what the decoders were trained on and how, for people to read.

    Raises:
        ValueError: the parts do not belong together.
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
        if not decoders:
            raise ValueError("a captioner needs at least one decoder")
        for decoder in decoders:
            if decoder.vocabulary_size != len(vocabulary):
                raise ValueError(
                    f"the decoder says {decoder.vocabulary_size} words, "
                    f"the vocabulary has {len(vocabulary)}"
                )
            if decoder.image_width != embedder.width:
                raise ValueError(
                    f"the encoder gives width {embedder.width}, "
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
        """Captions of photographs, the best first.

        Args:
            images: of any kind that an ``Embedder`` takes.
            search: instead of the captioner's own.
            n_best: captions of each image, at most the beam.
            batch_size: images at once; changes no caption.

        Raises:
            FormatError: a file is not a photograph.
            ValueError: more captions are wanted than the beam, or the batch is empty.
        """
        (search or self.search).check_n_best(n_best)
        if batch_size < 1:
            raise ValueError(f"batch size is {batch_size}; it must be at least 1")
        captions: list[list[Caption]] = []
        for begin in range(0, len(images), batch_size):
            vectors = self.embedder(images[begin : begin + batch_size]).mean(1)  # (B, D)
            captions += self.describe(vectors, search=search, n_best=n_best)
        return captions

    def describe(
        self, vectors: Tensor, *, search: SearchSettings | None = None, n_best: int = 1
    ) -> list[list[Caption]]:
        """Captions of embeddings, ``(B, D)``: the mean over the captioner's views."""
        return [
            [
                Caption(self.vocabulary.decode(one.words), one.log_prob, one.ended)
                for one in hypotheses[:n_best]
            ]
            for hypotheses in self.hypotheses(vectors, search=search, n_best=n_best)
        ]

    @torch.inference_mode()
    def hypotheses(
        self, vectors: Tensor, *, search: SearchSettings | None = None, n_best: int = 1
    ) -> list[list[Hypothesis]]:
        """The search's own result for embeddings ``(B, D)``."""
        search = search or self.search
        search.check_n_best(n_best)
        vectors = vectors.to(self.device)
        step, state = rules.ensemble([(each.step, each.start(vectors)) for each in self.decoders])
        words = self.vocabulary
        # The start is never said again, and an unknown word tells nobody anything.
        step, state = rules.forbid(step, state, [words.start, words.unknown])
        if search.min_length:
            step, state = rules.minimum_length(
                step, state, min_length=search.min_length, end=words.end
            )
        if search.no_repeat_ngram_size:
            step, state = rules.no_repeated_ngram(step, state, size=search.no_repeat_ngram_size)
        found = beam_search(
            step,
            state,
            start=words.start,
            end=words.end,
            num_beams=search.num_beams,
            max_length=search.max_length,
            length_penalty=search.length_penalty,
        )
        if search.rank_by == "minimum-bayes-risk":
            found = [minimum_bayes_risk(each) for each in found]
        return found

    def save(self, path: Path | str) -> None:
        """Write the captioner as one file, whole or not at all.

        Raises:
            OSError: the place cannot be written to.
        """
        modules: dict[str, nn.Module] = {"encoder": self.embedder.module_for_bundle()}
        modules |= {f"decoder.{i}": decoder for i, decoder in enumerate(self.decoders)}
        bundle.write(
            path,
            kind=KIND,
            configuration={
                "embedder": self.embedder.config(),
                "decoders": [decoder.configuration for decoder in self.decoders],
                "vocabulary": list(self.vocabulary.words),
                "search": asdict(self.search),
                "training": self.training,
            },
            modules=modules,
        )

    @classmethod
    def load(
        cls, path: Path | str, *more: Path | str, device: torch.device | str = "cpu"
    ) -> "Captioner":
        """A captioner from its file; several files of one encoder and vocabulary vote.

        Raises:
            FormatError: a file is not a captioner, or its parts disagree.
            ValueError: the files' encoders, vocabularies, views or resize modes differ.
            FileNotFoundError: a file is not there.
        """
        first = cls._load_one(Path(path), device)
        others = [cls._load_one(Path(each), device) for each in more]
        for each, name in zip(others, more, strict=True):
            if each.vocabulary != first.vocabulary:
                raise ValueError(
                    f"{name} has another vocabulary ({len(each.vocabulary)} words) than {path} "
                    f"({len(first.vocabulary)} words); they cannot vote"
                )
            if each.embedder.fingerprint != first.embedder.fingerprint:
                raise ValueError(f"{name} has another encoder than {path}; they cannot vote")
            if (each.embedder.views, each.embedder.resize) != (
                first.embedder.views,
                first.embedder.resize,
            ):
                raise ValueError(f"{name} was trained on other views or resize than {path}")
        first.decoders += [decoder for each in others for decoder in each.decoders]
        if others:
            first.training = {"members": [each.training for each in (first, *others)]}
        return first

    @classmethod
    def _load_one(cls, path: Path, device: torch.device | str) -> "Captioner":
        held = bundle.read(path, kind=KIND)
        vocabulary = Vocabulary.from_json(
            json.dumps(bundle.required(held, "vocabulary", list)), path
        )
        configurations = bundle.required(held, "decoders", list)
        decoders = [_decoder(held, index, each) for index, each in enumerate(configurations)]
        embedder = Embedder.from_bundle(held, device=device)
        bundle.check_nothing_left(
            held, ["encoder", *(f"decoder.{i}" for i in range(len(decoders)))]
        )
        try:
            return cls(
                embedder,
                decoders,
                vocabulary,
                search=_search(held),
                training=bundle.required(held, "training", dict),
            )
        except FormatError:
            raise
        except ValueError as cause:
            raise FormatError(path, str(cause)) from cause


def _decoder(held: bundle.Bundle, index: int, configuration: Any) -> ShowAndTell:
    name = f"decoder.{index}"
    try:
        if not isinstance(configuration, dict):
            raise TypeError(f"its configuration is of type {type(configuration).__name__}")
        # First without memory: a file may ask for more than there is.
        with torch.device("meta"):
            bundle.check(held, name, ShowAndTell(**configuration))
        decoder = ShowAndTell(**configuration)
    except FormatError:
        raise
    except (TypeError, ValueError, RuntimeError) as cause:  # the last: too many numbers to count
        problem = f"cannot be built: {' '.join(str(cause).split())}"
        raise FormatError(held.path, problem, record=name) from cause
    bundle.fill(held, name, decoder)
    return decoder


def _search(held: bundle.Bundle) -> SearchSettings:
    settings = bundle.required(held, "search", dict)
    unknown = sorted(settings.keys() - {field.name for field in fields(SearchSettings)})
    if unknown:
        problem = f"this version does not know {', '.join(unknown)}"
        raise FormatError(held.path, problem, record="configuration 'search'")
    for field in fields(SearchSettings):
        kinds = (int, float) if field.type is float else (int if field.type is int else str,)
        value = settings.get(field.name, field.default)
        if isinstance(value, bool) or not isinstance(value, kinds):
            problem = f"{field.name} is {value!r}, of another type"
            raise FormatError(held.path, problem, record="configuration 'search'")
    return SearchSettings(**settings)
