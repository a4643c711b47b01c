"""Model files: safetensors with the weights, and the configuration as JSON in the metadata.

Nothing in a file is code, and nothing is unpickled. The configuration of each kind of model is in
the module of the model; here is what all kinds share.
"""

import errno
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vl.data.errors import FormatError, WriteError
from vl.data.files import atomic_write
from vl.data.outputs import check_kind, model_kind

Config = TypeVar("Config")
Module = TypeVar("Module", bound=nn.Module)

FORMAT = 1
_KEY = "vl"  # of safetensors' metadata, which maps strings to strings


class Bundle(NamedTuple):
    """The content of a model file."""

    path: Path
    configuration: dict[str, Any]
    tensors: dict[str, Tensor]


def write(
    path: Path | str,
    *,
    kind: str,
    configuration: Mapping[str, Any],
    modules: Mapping[str, nn.Module],
    overwrite: bool = False,
) -> None:
    """Write a model file atomically.

    Args:
        path: output file.
        kind: of model: ``"captioner"``.
        configuration: JSON-able.
        modules: their tensors are stored under ``name.``.
        overwrite: whether to replace a file that is not a model of this kind.

    Raises:
        ValueError: there is a file of another kind.
        OSError: the file cannot be written.
    """
    if not overwrite:
        check_kind(path, model_kind(kind), cure="choose another file, or set overwrite")
    tensors = {
        f"{name}.{key}": value.detach().cpu().contiguous().clone()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    text = json.dumps({"format": FORMAT, "kind": kind, **configuration})
    with atomic_write(path) as beside:
        try:
            save_file(tensors, beside, metadata={_KEY: text})
        except SafetensorError as cause:  # its error for a full disk, with the number in its text
            number = re.search(r"os error (\d+)", str(cause))
            if not number:
                problem = f"could not be written: {cause}"
                raise WriteError(errno.EIO, problem, str(path)) from cause
            code = int(number[1])
            raise OSError(code, os.strerror(code), str(beside)) from cause


def read(path: Path | str, *, kind: str | tuple[str, ...]) -> Bundle:
    """Read a model file of one kind, or of one of several.

    Raises:
        FormatError: not a model file, damaged, of another format version, or of another kind.
        OSError: the file does not exist, or is a folder.
    """
    path = Path(path)
    path.open("rb").close()
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as cause:
        raise FormatError(path, f"not a whole safetensors file ({cause})") from cause
    if _KEY not in metadata:
        raise FormatError(path, "a safetensors file, but not a model of vl: it has no vl metadata")
    try:
        configuration = json.loads(metadata[_KEY])
    except (ValueError, RecursionError) as cause:  # not JSON; a number of 5,000 digits; nesting
        raise FormatError(path, f"its vl metadata is not JSON that can be read: {cause}") from cause
    if not isinstance(configuration, dict):
        raise FormatError(path, "its vl metadata is not an object")
    version = configuration.get("format")
    if version != FORMAT or isinstance(version, bool):
        raise FormatError(path, f"model format {version}; this version of vl reads {FORMAT}")
    kinds = (kind,) if isinstance(kind, str) else kind
    stored = configuration.get("kind")
    if stored not in kinds:
        expected = " or ".join(map(repr, kinds))
        raise FormatError(path, f"a model of kind {stored!r}; expected {expected}")
    return Bundle(path, configuration, tensors)


def is_bundle(path: Path) -> bool:
    """Whether a safetensors file is a model file of any kind.

    Raises:
        FormatError: it is not a safetensors file.
        OSError: the file does not exist, or is a folder.
    """
    path.open("rb").close()
    try:
        with safe_open(path, framework="pt") as file:
            return _KEY in (file.metadata() or {})
    except SafetensorError as cause:
        raise FormatError(path, f"not a safetensors file ({cause})") from cause


def parse(bundle: Bundle, config: type[Config], part: str | None = None) -> Config:
    """The configuration, or the part under a key of it, as a dataclass.

    Args:
        bundle: the file.
        config: its fields may be ``str``, ``int``, ``float``, ``bool``, ``list``, ``dict`` (or of
            such, as ``list[str]``), a ``Literal``, a dataclass of these, or None or one of these.
        part: the key.

    Raises:
        FormatError: a key is missing or unknown, a value is of another type, or the dataclass
            refuses it.
    """
    values = {key: v for key, v in bundle.configuration.items() if key not in ("format", "kind")}
    record = f"configuration.{part}" if part else "configuration"
    value = values.get(part) if part else values
    parsed: Config = _parse(bundle.path, record, value, config)
    return parsed


def build(
    bundle: Bundle,
    name: str,
    make: Callable[[], Module],
    *,
    without_memory: AbstractContextManager[object] | None = None,
    initialize: bool = False,
) -> Module:
    """A module with the tensors under ``name.``.

    Args:
        bundle: the file.
        name: of the module in it.
        make: builds the module from what the file says; first ``without_memory``, as a file may ask
            for more than there is.
        without_memory: by default the device "meta".
        initialize: draw the weights that the file's replace, from the global generator.

    Raises:
        FormatError: it cannot be built, or as ``fill``.
    """
    try:
        with without_memory or torch.device("meta"), _SkipInit():
            _check(bundle, name, make())
        with nullcontext() if initialize else _SkipInit():
            module = make()
    except FormatError:
        raise
    # The last two: more elements than an integer counts, and an infinite size.
    except (TypeError, ValueError, RuntimeError, OverflowError) as cause:
        problem = f"cannot be built: {' '.join(str(cause).split())}"
        raise FormatError(bundle.path, problem, record=name) from cause
    _load(bundle, name, module)
    return module


def fill(bundle: Bundle, name: str, module: nn.Module) -> None:
    """Load the tensors under ``name.`` into a module.

    Raises:
        FormatError: a tensor is missing, unexpected, of another shape or dtype, or not finite; or
            tensors that the module ties differ.
    """
    _check(bundle, name, module)
    _load(bundle, name, module)


def check_nothing_left(bundle: Bundle, names: Sequence[str]) -> None:
    """Check that every tensor belongs to one of these modules.

    Raises:
        FormatError: one does not.
    """
    for key in sorted(bundle.tensors):
        if not key.startswith(tuple(f"{name}." for name in names)):
            raise FormatError(bundle.path, "not a part of this model", record=f"tensor {key}")


def _check(bundle: Bundle, name: str, module: nn.Module) -> None:
    """Check that the tensors under ``name.`` fit a module, which may be on the device "meta"."""
    expected, tensors = module.state_dict(), _under(bundle, name)
    for key in sorted(expected.keys() ^ tensors.keys()):
        problem = "missing" if key in expected else "not a part of this model"
        raise FormatError(bundle.path, problem, record=f"tensor {name}.{key}")
    for key, value in tensors.items():
        needed, actual = _describe(expected[key]), _describe(value)
        if needed != actual:
            problem = f"expected {needed}, found {actual}"
            raise FormatError(bundle.path, problem, record=f"tensor {name}.{key}")
        # A finite sum, which is faster, has no other terms; that of finite terms may overflow.
        if not bool(value.sum().isfinite() or value.isfinite().all()):
            raise FormatError(bundle.path, "not finite", record=f"tensor {name}.{key}")


def _load(bundle: Bundle, name: str, module: nn.Module) -> None:
    """Load tensors that have been checked; those that the module ties must be equal."""
    tensors = _under(bundle, name)
    module.load_state_dict(tensors)
    state = module.state_dict()
    storages = [value.data_ptr() for value in state.values()]
    for key, value in state.items():
        tied = storages.count(value.data_ptr()) > 1
        if tied and not torch.equal(value.cpu(), tensors[key]):
            raise FormatError(
                bundle.path, "not equal to the one it is tied to", record=f"tensor {name}.{key}"
            )


def _under(bundle: Bundle, name: str) -> dict[str, Tensor]:
    start = len(name) + 1
    return {key[start:]: v for key, v in bundle.tensors.items() if key.startswith(f"{name}.")}


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


class _SkipInit(TorchFunctionMode):
    """Leaves out ``torch.nn.init``, for modules whose weights are loaded right after.

    On the device "meta" it would import torch._dynamo, for 3 s.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return (kwargs or {}).get("tensor")
        return func(*args, **(kwargs or {}))


def _parse(path: Path, record: str, value: Any, expected: Any) -> Any:
    """A JSON value as the type that is expected."""
    if is_dataclass(expected):
        return _parse_dataclass(path, record, _parse(path, record, value, dict), expected)
    origin, arguments = get_origin(expected) or expected, get_args(expected)
    if origin is UnionType:
        return None if value is None else _parse(path, record, value, arguments[0])
    if origin is Literal:
        fits, name = value in arguments, " or ".join(map(repr, arguments))
    else:
        accepted = (int, float) if origin is float else (origin,)
        fits = isinstance(value, accepted) and (origin is bool or not isinstance(value, bool))
        name = origin.__name__
    if not fits:
        raise FormatError(path, f"expected {name}, found {_shorten(value)}", record=record)
    if origin is list and arguments:
        return [_parse(path, record, item, arguments[0]) for item in value]
    return value


def _parse_dataclass(path: Path, record: str, values: dict[str, Any], config: Any) -> Any:
    hints, names = get_type_hints(config), [field.name for field in fields(config)]
    if unknown := sorted(values.keys() - set(names)):
        raise FormatError(path, f"unknown: {', '.join(unknown)}", record=record)
    if missing := [name for name in names if name not in values]:
        raise FormatError(path, f"missing: {', '.join(missing)}", record=record)
    parsed = {name: _parse(path, f"{record}.{name}", values[name], hints[name]) for name in names}
    try:
        return config(**parsed)
    except ValueError as cause:
        raise FormatError(path, str(cause), record=record) from cause


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}... ({type(value).__name__})"
