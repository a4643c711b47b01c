"""A labeller as one file: encoder, projections, words and their vectors, WordNet, calibration.

Word vectors are stored as float16, which changes a cosine by less than 0.0001; all else exactly.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vl import bundle as bundles
from vl.bundle import Bundle
from vl.data.choices import Synonyms
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
_UNIT_TOLERANCE = 1e-3  # of the length of a reference


class LabellerParts(NamedTuple):
    """What a labeller is made of."""

    embedder: Embedder
    projections: dict[str, Projection]
    space: LabelSpace
    seen: tuple[Label, ...]
    development: tuple[Label, ...]
    calibration: Calibration | None
    training: dict[str, Any]


def as_stored(words: WordVectors) -> WordVectors:
    """The same words with vectors as a file holds them: what is trained on is what is used."""
    return WordVectors(words.words, words.matrix.astype(np.float16).astype(np.float32))


def write(path: Path | str, parts: LabellerParts) -> None:
    """Write a labeller's parts atomically."""
    space, calibration = parts.space, parts.calibration
    modules: dict[str, nn.Module] = {"encoder": parts.embedder.module_for_bundle()}
    modules |= {f"projection.{name}": module for name, module in parts.projections.items()}
    modules["words"] = _Tensors(
        text=_encode_text("\n".join(space.words.words)),
        vectors=torch.from_numpy(space.words.matrix.astype(np.float16)),
    )
    if (net := space.wordnet) is not None:
        synsets = [f"{synset}\t{', '.join(net.words(synset))}" for synset in net.ids]
        edges = [f"{synset} {child}" for synset in net.ids for child in net.children(synset)]
        modules["wordnet"] = _Tensors(
            words=_encode_text("\n".join(synsets)), is_a=_encode_text("\n".join(edges))
        )
    if space.mean is not None:
        modules["space"] = _Tensors(mean=torch.from_numpy(space.mean))
    if calibration is not None:
        modules["calibration"] = _Tensors(
            references=calibration.references, reference_labels=calibration.reference_labels
        )
    config = _LabellerConfig(
        embedder=parts.embedder.config(),
        projections={name: module.configuration for name, module in parts.projections.items()},
        space=_SpaceConfig(space.synonyms, space.hypernym_weight),
        seen=list(parts.seen),
        development=list(parts.development),
        calibration=calibration and _CalibrationConfig(*map(float, calibration[:3])),
        training=parts.training,
    )
    bundles.write(path, kind=KIND, configuration=asdict(config), modules=modules)


def read(path: Path | str, *, device: torch.device | str = "cpu") -> LabellerParts:
    """A labeller's parts from its file.

    Raises:
        FormatError: the file is not a labeller, or a part is damaged.
        ValueError: the words or the label space are damaged.
        FileNotFoundError: there is no such file.
    """
    bundle = bundles.read(path, kind=KIND)
    config = bundles.parse(bundle, _LabellerConfig)
    _check_nothing_left(bundle, config)
    return LabellerParts(
        embedder=Embedder.from_bundle(bundle, device=device),
        projections={
            name: _projection(bundle, name, options) for name, options in config.projections.items()
        },
        space=_space(bundle, config.space),
        seen=tuple(config.seen),
        development=tuple(config.development),
        calibration=_calibration(bundle, config.calibration),
        training=config.training,
    )


@dataclass(frozen=True)
class _SpaceConfig:
    synonyms: Synonyms
    hypernym_weight: float


@dataclass(frozen=True)
class _CalibrationConfig:
    temperature: float
    seen_temperature: float
    seen_penalty: float

    def __post_init__(self) -> None:
        temperatures = (self.temperature, self.seen_temperature)
        if not (all(0 < t < math.inf for t in temperatures) and 0 <= self.seen_penalty < math.inf):
            raise ValueError("expected temperatures above 0 and a seen_penalty of at least 0")


@dataclass(frozen=True)
class _LabellerConfig:
    """What a labeller's file says beside its tensors."""

    embedder: dict[str, Any]  # see Embedder.config
    projections: dict[str, Any]  # constructor's arguments by name
    space: _SpaceConfig
    seen: list[Label]
    development: list[Label]
    calibration: _CalibrationConfig | None
    training: dict[str, Any]


class _Tensors(nn.Module):
    """Tensors that belong to no module, as a bundle stores them."""

    def __init__(self, **tensors: Tensor) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


def _check_nothing_left(bundle: Bundle, config: _LabellerConfig) -> None:
    of_no_module = {"words.text", "words.vectors", "space.mean"}
    if "wordnet.words" in bundle.tensors:
        of_no_module |= {"wordnet.words", "wordnet.is_a"}
    if config.calibration is not None:
        of_no_module |= {"calibration.references", "calibration.reference_labels"}
    of_modules = {key: value for key, value in bundle.tensors.items() if key not in of_no_module}
    names = ["encoder", *(f"projection.{name}" for name in config.projections)]
    bundles.check_nothing_left(bundle._replace(tensors=of_modules), names)


def _projection(bundle: Bundle, name: str, options: Any) -> Projection:
    def make() -> Projection:
        if name not in PROJECTIONS or not isinstance(options, dict):
            raise TypeError(f"expected {' or '.join(PROJECTIONS)}, each an object")
        return PROJECTIONS[name](**options)

    return bundles.build(bundle, f"projection.{name}", make)


def _space(bundle: Bundle, config: _SpaceConfig) -> LabelSpace:
    mean = bundle.tensors.get("space.mean")
    return LabelSpace(
        _words(bundle),
        _wordnet(bundle) if "wordnet.words" in bundle.tensors else None,
        synonyms=config.synonyms,
        hypernym_weight=config.hypernym_weight,
        mean=None if mean is None else _floats(bundle, "space.mean", mean.ndim),
    )


def _wordnet(bundle: Bundle) -> WordNet:
    lines = [line.split("\t") for line in _text(bundle, "wordnet.words").split("\n")]
    text = _text(bundle, "wordnet.is_a")
    edges = [line.split(" ") for line in text.split("\n")] if text else []
    try:
        words = {synset: text.split(", ") for synset, text in lines}
        if len(words) < len(lines):
            raise ValueError("a synset is there twice")
        return WordNet(words, [(parent, child) for parent, child in edges])
    except ValueError as cause:
        raise FormatError(bundle.path, str(cause), record="tensors wordnet.*") from cause


def _words(bundle: Bundle) -> WordVectors:
    matrix = _floats(bundle, "words.vectors", 2)
    words = _text(bundle, "words.text").split("\n")
    if len(words) != len(matrix):
        raise FormatError(bundle.path, f"{len(words)} words, {len(matrix)} vectors of words")
    if bundle.tensors["words.vectors"].dtype != torch.float16:  # coarser: not of unit length
        matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), np.float32(1e-6))
    return WordVectors(words, matrix)


def _calibration(bundle: Bundle, config: _CalibrationConfig | None) -> Calibration | None:
    if config is None:
        return None
    references = _unit_vectors(bundle, "calibration.references")
    labels = _unit_vectors(bundle, "calibration.reference_labels")
    if references.shape != labels.shape:
        raise FormatError(bundle.path, "references and their labels differ in shape")
    return Calibration(**asdict(config), references=references, reference_labels=labels)


def _floats(bundle: Bundle, key: str, dimensions: int) -> NDArray[np.float32]:
    tensor = _tensor(bundle, key)
    if not tensor.is_floating_point() or tensor.ndim != dimensions or tensor.numel() == 0:
        problem = f"expected floats in {dimensions} dimensions, not {tuple(tensor.shape)}"
        raise FormatError(bundle.path, problem, record=f"tensor {key}")
    tensor = tensor.float()
    if not bool(tensor.isfinite().all()):
        raise FormatError(bundle.path, "a value in it is not finite", record=f"tensor {key}")
    return tensor.numpy()


def _unit_vectors(bundle: Bundle, key: str) -> Tensor:
    vectors = torch.from_numpy(_floats(bundle, key, 2))
    lengths = vectors.double().norm(dim=1)
    for row in ((lengths - 1).abs() > _UNIT_TOLERANCE).nonzero()[:1, 0].tolist():
        problem = f"row {row} has length {lengths[row]:.4g}, not 1"
        raise FormatError(bundle.path, problem, record=f"tensor {key}")
    return vectors


def _encode_text(text: str) -> Tensor:
    if not text:  # of a WordNet without edges; frombuffer refuses it
        return torch.zeros(0, dtype=torch.uint8)
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def _text(bundle: Bundle, key: str) -> str:
    tensor = _tensor(bundle, key)
    try:
        if tensor.dtype != torch.uint8 or tensor.ndim != 1:
            raise ValueError
        return tensor.numpy().tobytes().decode()
    except ValueError as cause:
        raise FormatError(bundle.path, "not text in UTF-8", record=f"tensor {key}") from cause


def _tensor(bundle: Bundle, key: str) -> Tensor:
    if key not in bundle.tensors:
        raise FormatError(bundle.path, "missing", record=f"tensor {key}")
    return bundle.tensors[key]
