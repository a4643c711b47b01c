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
from typing import Any, NamedTuple, get_origin, get_type_hints

import tyro

from vl.commands.bounds import check_bounds
from vl.data.files import escape_unprintable
from vl.version import __version__

DONE = 0
WRONG_USE = 2  # a command itself returns 1 if it ran, but some of its input failed
INTERRUPTED = 130  # as in shells: 128 + SIGINT
PIPE_CLOSED = 141  # 128 + SIGPIPE


class Command(NamedTuple):
    """A command whose module has not been imported yet."""

    flags: str  # module:class of the frozen dataclass; the module has run(flags) -> exit code
    summary: str  # how the docstring of the dataclass begins; here, so that help imports nothing


COMMANDS = {
    "caption": Command("vl.commands.caption:CaptionFlags", "Caption images"),
    "label": Command("vl.commands.label:LabelFlags", "Label images"),
    "search": Command(
        "vl.commands.search:SearchFlags",
        "Search images by words, by images, or by sums",
    ),
    "embed": Command("vl.commands.embed:EmbedRun", "Embed images"),
    "encoders": Command("vl.commands.encoders:EncodersRun", "List encoders"),
    "attack": Command(
        "vl.commands.attack:AttackRun",
        "Attack images with the fast gradient sign method, and write the adversarial images",
    ),
    "train captioner": Command(
        "vl.commands.train_captioner:TrainCaptionerFlags",
        "Train a captioner: its decoder, on cached embeddings",
    ),
    "finetune captioner": Command(
        "vl.commands.finetune_captioner:FinetuneCaptionerFlags",
        "Fine-tune a captioner: encoder and decoder together, on images",
    ),
    "self-critical captioner": Command(
        "vl.commands.self_critical_captioner:SelfCriticalCaptionerFlags",
        "Train a captioner's decoder on CIDEr-D and BLEU-4 of captions it samples",
    ),
    "train labeller": Command("vl.commands.train_labeller:TrainLabellerFlags", "Train a labeller"),
    "finetune labeller": Command(
        "vl.commands.finetune_labeller:FinetuneLabellerFlags", "Fine-tune a labeller"
    ),
    "train encoder": Command("vl.commands.train_encoder:EncoderTraining", "Train an encoder"),
    "finetune encoder": Command(
        "vl.commands.finetune_encoder:EncoderFinetuning",
        "Fine-tune a pretrained encoder to classify images",
    ),
    "train words": Command("vl.commands.train_words:WordTraining", "Train word vectors"),
    "evaluate": Command(
        "vl.commands.evaluate:EvaluateFlags", "Evaluate captions against references"
    ),
    "evaluate-labels": Command(
        "vl.commands.evaluate_labels:EvaluateLabelsFlags", "Evaluate a labeller"
    ),
    "evaluate-encoder": Command(
        "vl.commands.evaluate_encoder:EncoderEvaluation", "Evaluate an encoder, or several averaged"
    ),
    "evaluate-robustness": Command(
        "vl.commands.evaluate_robustness:RobustnessEvaluation",
        "Evaluate a trained encoder under attack",
    ),
    "shard": Command("vl.commands.shard:ShardRun", "Pack labelled images into tar shards"),
    "draw-world": Command(
        "vl.commands.draw_world:DrawWorld",
        "Draw a world of scenes with captions, classes, ground truth, text and taxonomy",
    ),
    "demo": Command(
        "vl.commands.demo:DemoRun",
        "Draw a world, train the whole system on it from scratch, and evaluate it",
    ),
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
    arguments = [argument for argument in arguments if argument != "--debug"]
    handler = _handler(debug=debug)
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _print_error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The rest of the buffer would raise again when the interpreter exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (ValueError, OSError) as error:
        if debug:
            traceback.print_exc()
        _print_error(f"error: {_one_line(error)}")
        return WRONG_USE
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise  # a bug
        if debug:
            traceback.print_exc()
        _print_error("error: out of memory; try a smaller --batch-size")
        return WRONG_USE
    finally:
        logging.getLogger().removeHandler(handler)
    return code


def _out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether memory ran out; PyTorch has no exception class for that on a CPU."""
    text = str(error)
    return isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text


def _dispatch(arguments: list[str]) -> int:
    for name, command in COMMANDS.items():
        length = len(name.split())
        if arguments[:length] == name.split():
            return _run(name, command, arguments[length:])
    first = arguments[0] if arguments else ""
    family = [name for name in COMMANDS if name.startswith(f"{first} ")]  # "train captioner"
    if first == "--version":
        print(f"vl {__version__}")
        return DONE
    if first in ("-h", "--help") or (family and arguments[1:2] in (["-h"], ["--help"])):
        print(_help(family or list(COMMANDS)))
        return DONE
    if len(arguments) == (1 if family else 0):
        print(_help(family or list(COMMANDS)), file=sys.stderr)
        return WRONG_USE
    unknown = " ".join(arguments[:2]) if family else first
    raise ValueError(f"no command {unknown!r}; choose from {', '.join(family or COMMANDS)}")


def _run(name: str, command: Command, arguments: list[str]) -> int:
    flags_type, run = load(command)
    _refuse_repeated(flags_type, arguments)
    try:
        flags = tyro.cli(
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
    except SystemExit as stop:  # tyro has printed help or an error
        return stop.code if isinstance(stop.code, int) else DONE
    check_bounds(flags)
    return run(flags)


def _refuse_repeated(flags_type: type[Any], arguments: list[str]) -> None:
    """Refuse a repeated flag of several values: the first one's would be lost."""
    names = [argument.partition("=")[0] for argument in arguments]
    for name, hint in get_type_hints(flags_type).items():
        flag = f"--{name.replace('_', '-')}"
        if is_dataclass(hint) and isinstance(hint, type):
            _refuse_repeated(hint, arguments)
        elif names.count(flag) > 1 and get_origin(hint) in (tuple, list):
            raise ValueError(f"{flag} is repeated; give all its values after one")


def load(command: Command) -> tuple[type[Any], Callable[[Any], int]]:
    """Import a command: the dataclass of its flags, and the function that runs it."""
    module_name, _, name = command.flags.partition(":")
    module = importlib.import_module(module_name)
    return getattr(module, name), module.run


def _help(names: list[str]) -> str:
    width = max(len(name) for name in names)
    lines = "\n".join(f"  {name:{width}}  {COMMANDS[name].summary}" for name in names)
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


def _one_line(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).splitlines()) or type(error).__name__


if __name__ == "__main__":
    raise SystemExit(main())
