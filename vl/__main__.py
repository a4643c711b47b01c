"""The command line: parses a command's flags, runs it, and reports errors in one line.

It knows no command's flags: the modules of vl/commands have them, and only the one that is run is
imported.
"""

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, get_origin, get_type_hints

import tyro

from vl.commands.bounds import check_bounds, check_inputs
from vl.data.files import escape_unprintable
from vl.version import __version__

DONE = 0
WRONG_USE = 2  # a command itself returns 1 if it ran, but some of its input failed
INTERRUPTED = 130  # as in shells: 128 + SIGINT
PIPE_CLOSED = 141  # 128 + SIGPIPE

# The summary is how the docstring of the flags begins; here, so that help imports no command.
COMMANDS = {
    "caption": "Caption images",
    "label": "Label images",
    "search": "Search images by words, by images, or by sums",
    "embed": "Embed images",
    "encoders": "List encoders",
    "attack": "Attack images with the fast gradient sign method, and write the adversarial images",
    "train captioner": "Train a captioner: its decoder, on cached embeddings",
    "finetune captioner": "Fine-tune a captioner: encoder and decoder together, on images",
    "self-critical captioner": "Train a captioner's decoder on CIDEr-D and BLEU-4 of samples",
    "train labeller": "Train a labeller",
    "finetune labeller": "Fine-tune a labeller",
    "train encoder": "Train an encoder",
    "finetune encoder": "Fine-tune a pretrained encoder to classify images",
    "train words": "Train word vectors",
    "evaluate": "Evaluate captions against references",
    "evaluate-labels": "Evaluate a labeller",
    "evaluate-encoder": "Evaluate an encoder, or several averaged",
    "evaluate-robustness": "Evaluate a trained encoder under attack",
    "shard": "Pack labelled images into tar shards",
    "draw-world": "Draw a world of scenes with captions, classes, ground truth, text and taxonomy",
    "demo": "Draw a world, train the whole system on it from scratch, and evaluate it",
}


def main(argv: list[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: the arguments; by default those of the process.

    Returns:
        The exit code: 0 done; 1 it ran, but some of the input failed; 2 invalid arguments, or a
        file that is missing or malformed; 130 interrupted; 141 the reader of stdout has closed it.
    """
    arguments = sys.argv[1:] if argv is None else argv
    debug = "--debug" in arguments
    handler = _handler(debug=debug)
    try:
        code = _run([argument for argument in arguments if argument != "--debug"])
        sys.stdout.flush()
    except KeyboardInterrupt:
        _print_error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The rest of the buffer would raise again when the interpreter exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        message = _message(error)
        if message is None:
            raise  # a bug
        if debug:
            traceback.print_exc()
        _print_error(f"error: {message}")
        return WRONG_USE
    finally:
        logging.getLogger().removeHandler(handler)
    return code


def parse(arguments: list[str]) -> tuple[Any, Callable[[Any], int]]:
    """The flags of a command line, within their bounds, and the function that runs the command.

    Whether files exist is not checked, see ``check_inputs``.

    Raises:
        ValueError: there is no such command, or a value is out of bounds.
        SystemExit: after help or the version on stdout, or wrong flags on stderr.
    """
    for name in COMMANDS:
        words = name.split()
        if arguments[: len(words)] == words:
            flags_type, run = load(name)
            flags = _parse_flags(name, flags_type, arguments[len(words) :])
            check_bounds(flags)
            return flags, run
    first = arguments[0] if arguments else ""
    family = [name for name in COMMANDS if name.startswith(f"{first} ")]  # "train captioner"
    if first == "--version":
        print(f"vl {__version__}")
        raise SystemExit(DONE)
    if first in ("-h", "--help") or (family and arguments[1:2] in (["-h"], ["--help"])):
        print(_help(family or list(COMMANDS)))
        raise SystemExit(DONE)
    if len(arguments) == (1 if family else 0):
        print(_help(family or list(COMMANDS)), file=sys.stderr)
        raise SystemExit(WRONG_USE)
    unknown = " ".join(arguments[:2]) if family else first
    raise ValueError(f"no command {unknown!r}; choose from {', '.join(family or COMMANDS)}")


def load(name: str) -> tuple[type[Any], Callable[[Any], int]]:
    """Import a command: the dataclass of its flags, and the function that runs it."""
    module = importlib.import_module(f"vl.commands.{name.replace(' ', '_').replace('-', '_')}")
    return get_type_hints(module.run)["flags"], module.run


def _run(arguments: list[str]) -> int:
    try:
        flags, run = parse(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else DONE
    check_inputs(flags)
    return run(flags)


def _parse_flags(name: str, flags_type: type[Any], arguments: list[str]) -> Any:
    _refuse_repeated(flags_type, arguments)
    return tyro.cli(
        flags_type,
        prog=f"vl {name}",
        args=arguments,
        config=(
            tyro.conf.FlagCreatePairsOff,  # --json without --no-json
            tyro.conf.DisallowNone,  # None is the absence of a flag, not a value of it
            tyro.conf.PositionalMetavarFromFieldName,
            tyro.conf.OmitArgPrefixes,  # nested groups of flags have no prefix
        ),
    )


def _refuse_repeated(flags_type: type[Any], arguments: list[str]) -> None:
    """Refuse a repeated flag of several values: the first one's would be lost."""
    names = [argument.partition("=")[0] for argument in arguments]
    for name, hint in get_type_hints(flags_type).items():
        flag = f"--{name.replace('_', '-')}"
        if is_dataclass(hint) and isinstance(hint, type):
            _refuse_repeated(hint, arguments)
        elif names.count(flag) > 1 and get_origin(hint) in (tuple, list):
            raise ValueError(f"{flag} is repeated; give all its values after one")


def _help(names: list[str]) -> str:
    width = max(len(name) for name in names)
    lines = "\n".join(f"  {name:{width}}  {COMMANDS[name]}" for name in names)
    return f"""usage: vl COMMAND [flags]

{lines}

vl COMMAND --help  flags of the command
vl --version       version
--debug            with any command: log more, and show tracebacks"""


class _Formatter(logging.Formatter):
    """`vl: ...`, with the level if it is not information.

    Messages quote captions and file names, whose control characters must not reach the terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno != logging.INFO else ""
        return escape_unprintable(f"vl: {level}{super().format(record)}")


def _handler(*, debug: bool) -> logging.Handler:
    """Log to stderr: everything of vl, and warnings of other libraries."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.getLogger().addHandler(handler)
    logging.getLogger("vl").setLevel(logging.DEBUG if debug else logging.INFO)
    return handler


def _print_error(message: str) -> None:
    print(escape_unprintable(f"vl: {message}"), file=sys.stderr)


def _message(error: Exception) -> str | None:
    """What went wrong in one line; None if it is a bug."""
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ValueError | OSError):
        return " ".join(text.splitlines()) or type(error).__name__
    # PyTorch has no exception class for memory that ran out on a CPU.
    if isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text:
        return "out of memory; try a smaller --batch-size"
    return None


if __name__ == "__main__":
    raise SystemExit(main())
