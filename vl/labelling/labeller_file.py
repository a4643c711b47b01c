"""A labeller as one file: encoder, projections, words and their vectors, WordNet, calibration.

Words are stored as float16, which moves a cosine by less than 0.0001, and all else as it is.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vl import bundle
from vl.data.errors import FormatError
from vl.data.words.label_space import LabelSpace
from vl.data.words.labels import Label
from vl.data.words.vectors import WordVectors
from vl.data.words.wordnet import WordNet
from vl.decoders.conse import Conse
from vl.decoders.devise import Devise
from vl.encoding.embedder import Embedder
from vl.labelling.calibration import Calibration

KIND = "labeller"
Projection = Devise | Conse
PROJECTIONS: dict[str, type[Projection]] = {"devise": Devise, "conse": Conse}
_UNIT = 1e-3  # how far from 1 the length of a reference may be
# Tensors that belong to no module, by the part of the configuration without which they are not.
_TENSORS = {
    "space": ("words.text", "words.vectors", "wordnet.words", "wordnet.is_a", "space.mean"),
    "calibration": ("calibration.references", "calibration.truths"),
}


def as_stored(words: WordVectors) -> WordVectors:
    """The same words with vectors as a bundle holds them: what is trained on is what is used."""
    return WordVectors(words.words, words.matrix.astype(np.float16).astype(np.float32))


class Parts(NamedTuple):
    """What a labeller is made of."""

    embedder: Embedder
    projections: dict[str, Projection]
    space: LabelSpace
    seen: tuple[Label, ...]
    aside: tuple[Label, ...]
    calibration: Calibration | None
    training: dict[str, Any]


def write(path: Path | str, parts: Parts) -> None:
    """Write a labeller's parts, whole or not at all.

    Raises:
        OSError: the place cannot be written to.
    """
    space = parts.space
    modules: dict[str, nn.Module] = {"encoder": parts.embedder.module_for_bundle()}
    modules |= {f"projection.{name}": each for name, each in parts.projections.items()}
    modules["words"] = _Tensors(
        text=_bytes("\n".join(space.words.words)),
        vectors=torch.from_numpy(space.words.matrix.astype(np.float16)),
    )
    if space.wordnet is not None:
        net = space.wordnet
        modules["wordnet"] = _Tensors(
            words=_bytes("\n".join(f"{each}\t{', '.join(net.words(each))}" for each in net.ids)),
            is_a=_bytes(
                "\n".join(f"{each} {child}" for each in net.ids for child in net.children(each))
            ),
        )
    if space.mean is not None:
        modules["space"] = _Tensors(mean=torch.from_numpy(space.mean))
    if (calibration := parts.calibration) is not None:
        modules["calibration"] = _Tensors(
            references=calibration.references, truths=calibration.truths
        )
    bundle.write(
        path,
        kind=KIND,
        configuration={
            "embedder": parts.embedder.config(),
            "projections": {name: each.configuration for name, each in parts.projections.items()},
            "space": {"synonyms": space.synonyms, "hypernym_weight": space.hypernym_weight},
            "seen": [list(label) for label in parts.seen],
            "aside": [list(label) for label in parts.aside],
            "calibration": None
            if calibration is None
            else {
                "temperature": float(calibration.temperature),
                "seen_temperature": float(calibration.seen_temperature),
                "handicap": float(calibration.seen_penalty),
            },
            "training": parts.training,
        },
        modules=modules,
    )


def read(path: Path | str, *, device: torch.device | str = "cpu") -> Parts:
    """A labeller's parts from its file.

    Raises:
        FormatError: the file is not a labeller, or a part is damaged.
        FileNotFoundError: there is no such file.
    """
    held = bundle.read(path, kind=KIND)
    configurations = bundle.required(held, "projections", dict)
    _check_nothing_left(held, configurations)
    projections = {name: _projection(held, name, each) for name, each in configurations.items()}
    try:
        space = _space(held)
    except FormatError:
        raise
    except ValueError as cause:
        raise FormatError(held.path, str(cause)) from cause
    return Parts(
        embedder=Embedder.from_bundle(held, device=device),
        projections=projections,
        space=space,
        seen=tuple(_labels(held, "seen")),
        aside=tuple(_labels(held, "aside")),
        calibration=_calibration(held),
        training=bundle.required(held, "training", dict),
    )


class _Tensors(nn.Module):
    """Tensors that belong to no module, as a bundle stores them."""

    def __init__(self, **tensors: Tensor) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


def _check_nothing_left(held: bundle.Bundle, projections: dict[str, Any]) -> None:
    wordnet = ("wordnet.words", "wordnet.is_a")
    parts = ["space"] if held.configuration.get("calibration") is None else list(_TENSORS)
    loose = {key for part in parts for key in _TENSORS[part]}
    if wordnet[0] not in held.tensors:
        loose -= set(wordnet)
    others = held._replace(
        tensors={key: value for key, value in held.tensors.items() if key not in loose}
    )
    bundle.check_nothing_left(others, ["encoder", *(f"projection.{each}" for each in projections)])


def _projection(held: bundle.Bundle, name: str, configuration: Any) -> Projection:
    record = f"projection.{name}"
    try:
        if name not in PROJECTIONS or not isinstance(configuration, dict):
            raise TypeError(f"there are {', '.join(PROJECTIONS)}, each with an object")
        # First without memory: a file may ask for more than there is.
        with torch.device("meta"):
            bundle.check(held, record, PROJECTIONS[name](**configuration))
        projection = PROJECTIONS[name](**configuration)
    except FormatError:
        raise
    except (TypeError, ValueError, RuntimeError) as cause:
        problem = f"cannot be built: {' '.join(str(cause).split())}"
        raise FormatError(held.path, problem, record=record) from cause
    bundle.fill(held, record, projection)
    return projection


def _space(held: bundle.Bundle) -> LabelSpace:
    settings = bundle.required(held, "space", dict)
    if sorted(settings) != ["hypernym_weight", "synonyms"] or not isinstance(
        settings["hypernym_weight"], int | float
    ):
        raise FormatError(
            held.path, "expected hypernym_weight and synonyms", record="configuration 'space'"
        )
    wordnet = None
    if "wordnet.words" in held.tensors:
        lines = [line.split("\t") for line in _text(held, "wordnet.words").split("\n")]
        text = _text(held, "wordnet.is_a")
        edges = [line.split(" ") for line in text.split("\n")] if text else []
        try:
            names = {name: words.split(", ") for name, words in lines}
            if len(names) < len(lines):
                raise ValueError("a synset is there twice")
            wordnet = WordNet(names, [(parent, child) for parent, child in edges])
        except ValueError as cause:
            raise FormatError(held.path, str(cause), record="tensors wordnet.*") from cause
    mean = held.tensors.get("space.mean")
    return LabelSpace(
        _words(held),
        wordnet,
        synonyms=settings["synonyms"],
        hypernym_weight=settings["hypernym_weight"],
        mean=None if mean is None else _floats(held, "space.mean", mean.ndim),
    )


def _words(held: bundle.Bundle) -> WordVectors:
    matrix = _floats(held, "words.vectors", 2)
    words = _text(held, "words.text").split("\n")
    if len(words) != len(matrix):
        raise FormatError(held.path, f"{len(words)} words, {len(matrix)} vectors of words")
    if held.tensors["words.vectors"].dtype != torch.float16:  # coarser ones are of no unit length
        matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), np.float32(1e-6))
    return WordVectors(words, matrix)


def _labels(held: bundle.Bundle, key: str) -> list[Label]:
    labels = []
    for each in bundle.required(held, key, list):
        match each:
            case [str(text), None]:
                labels.append(Label(text, None))
            case [str(text), str(synset)]:
                labels.append(Label(text, synset))
            case _:
                problem = f"expected a label and its synset, not {each!r}"
                raise FormatError(held.path, problem, record=f"configuration {key!r}")
    return labels


def _calibration(held: bundle.Bundle) -> Calibration | None:
    numbers = held.configuration.get("calibration")
    if numbers is None:
        return None
    match numbers:
        case {
            "temperature": float(temperature),
            "seen_temperature": float(seen_temperature),
            "handicap": float(seen_penalty),
        } if (
            0 < temperature < math.inf
            and 0 < seen_temperature < math.inf
            and 0 <= seen_penalty < math.inf
        ):
            references = _units(held, "calibration.references")
            truths = _units(held, "calibration.truths")
            if references.shape != truths.shape:
                raise FormatError(held.path, "references and truths differ in shape")
            return Calibration(
                temperature,
                seen_temperature,
                seen_penalty,
                torch.from_numpy(references),
                torch.from_numpy(truths),
            )
    raise FormatError(
        held.path,
        "expected temperatures above 0 and a handicap of 0 or more",
        record="configuration 'calibration'",
    )


def _floats(
    held: bundle.Bundle, key: str, dimensions: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    tensor = _tensor(held, key)
    if not tensor.is_floating_point() or tensor.ndim != dimensions or tensor.numel() == 0:
        problem = f"expected numbers in {dimensions} dimensions, found {tuple(tensor.shape)}"
        raise FormatError(held.path, problem, record=f"tensor {key}")
    tensor = tensor.float()
    if not bool(tensor.isfinite().all()):
        raise FormatError(held.path, "a number in it is not finite", record=f"tensor {key}")
    return tensor.numpy()


def _units(held: bundle.Bundle, key: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Vectors of unit length, ``(n, D)``."""
    vectors = _floats(held, key, 2)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    for row in np.flatnonzero(np.abs(lengths - 1) > _UNIT)[:1].tolist():
        problem = f"row {row} has length {lengths[row]:.4g}, not 1"
        raise FormatError(held.path, problem, record=f"tensor {key}")
    return vectors


def _bytes(text: str) -> Tensor:
    if not text:  # of a WordNet without edges; frombuffer refuses it
        return torch.zeros(0, dtype=torch.uint8)
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def _text(held: bundle.Bundle, key: str) -> str:
    tensor = _tensor(held, key)
    try:
        if tensor.dtype != torch.uint8 or tensor.ndim != 1:
            raise ValueError
        return tensor.numpy().tobytes().decode()
    except ValueError as cause:
        raise FormatError(held.path, "not text in UTF-8", record=f"tensor {key}") from cause


def _tensor(held: bundle.Bundle, key: str) -> Tensor:
    if key not in held.tensors:
        raise FormatError(held.path, "missing", record=f"tensor {key}")
    return held.tensors[key]
