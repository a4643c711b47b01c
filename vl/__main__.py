"""The `vl` command: finds the verb, reads its flags, runs it, and says in one line what went wrong.

It knows no verb's flags: each file of vl/commands has its own, and is imported only when asked for.
"""

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple, get_origin, get_type_hints

import tyro

from vl.commands.bounds import check_bounds
from vl.data.files import escape_unprintable
from vl.version import __version__

DONE = 0
WRONG_USE = 2  # 1 is a command's own: it ran, but some of its input failed
INTERRUPTED = 130  # as shells count: 128 and SIGINT's number
PIPE_CLOSED = 141  # 128 and SIGPIPE's


class Command(NamedTuple):
    """A verb, before anything of it is imported."""

    flags: str  # module:class of the frozen dataclass; its module has run(flags) -> exit code
    summary: str  # how the dataclass's docstring begins; stands here so that help imports no torch


COMMANDS = {
    "embed": Command("vl.commands.embed:EmbedRun", "Photographs to a file of embeddings"),
    "shard": Command(
        "vl.commands.shard:ShardRun",
        "Pack labelled images into tar shards",
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
    "train words": Command(
        "vl.commands.train_words:WordTraining", "Train word vectors on plain text"
    ),
    "train devise": Command(
        "vl.commands.train_labeller:DeviseRun",
        "Train a labeller",
    ),
    "train encoder": Command(
        "vl.commands.train_encoder:EncoderRun",
        "Train an encoder to tell classes of pictures apart",
    ),
    "caption": Command("vl.commands.caption:CaptionFlags", "Caption images"),
    "label": Command("vl.commands.label:LabelRun", "Say which of some labels photographs show"),
    "attack": Command(
        "vl.commands.attack:AttackRun",
        "Attack images with the fast gradient sign method, and write the adversarial images",
    ),
    "demo": Command(
        "vl.commands.demo:DemoRun",
        "Draw a world, train the whole system on it from scratch, and evaluate it",
    ),
    "draw-world": Command(
        "vl.commands.draw_world:DrawWorld",
        "Draw a world of scenes with captions, classes, ground truth, text and taxonomy",
    ),
    "encoders": Command(
        "vl.commands.encoders:EncodersRun",
        "List encoders: how large they are, what an image costs them",
    ),
    "search": Command(
        "vl.commands.search:SearchRun",
        "Find photographs by words, by photographs, or by sums",
    ),
    "evaluate": Command(
        "vl.commands.evaluate:EvaluateFlags", "Evaluate captions against references"
    ),
    "evaluate-labels": Command(
        "vl.commands.evaluate_labels:LabelEvaluation",
        "Say how often a labeller finds the label of photographs",
    ),
    "evaluate-encoder": Command(
        "vl.commands.evaluate_encoder:EncoderEvaluation",
        "Say how often an encoder, or several together, finds the class of photographs",
    ),
    "evaluate-robustness": Command(
        "vl.commands.evaluate_robustness:RobustnessEvaluation",
        "Evaluate a trained encoder under attack: error rate and confidence on labelled images",
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        argv: what stands behind `vl`; by default the process's own.

    Returns:
        0 done; 1 it ran, but some of the input failed; 2 wrong use, or a file without which the
        command cannot start; 130 interrupted; 141 whoever read our output has gone.
    """
    arguments = sys.argv[1:] if argv is None else argv
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    handler = _handler(debug=debug)
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _say("stopped")
        return INTERRUPTED
    except BrokenPipeError:
        # What is still in the buffer would raise again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (ValueError, OSError) as error:
        if debug:
            traceback.print_exc()
        _say(f"error: {_one_line(error)}")
        return WRONG_USE
    except (MemoryError, RuntimeError) as error:
        if not _is_of_memory(error):
            raise  # a mistake of ours
        if debug:
            traceback.print_exc()
        _say("error: the memory is too small for this; smaller batches want less (--batch-size)")
        return WRONG_USE
    finally:
        logging.getLogger().removeHandler(handler)
    return code


def _is_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether memory ran out; PyTorch has no class for that on a processor."""
    text = str(error)
    return isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text


def _dispatch(arguments: list[str]) -> int:
    for verb, command in COMMANDS.items():
        length = len(verb.split())
        if arguments[:length] == verb.split():
            return _run(verb, command, arguments[length:])
    first = arguments[0] if arguments else ""
    family = [verb for verb in COMMANDS if verb.startswith(f"{first} ")]  # "train captioner"
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
    raise ValueError(f"no command {unknown!r}; there are {', '.join(family or COMMANDS)}")


def _run(verb: str, command: Command, arguments: list[str]) -> int:
    flags, run = load(command)
    _refuse_twice(flags, arguments)
    try:
        read = tyro.cli(
            flags,
            prog=f"vl {verb}",
            args=arguments,
            config=(
                tyro.conf.FlagCreatePairsOff,  # --json, and no --no-json
                tyro.conf.DisallowNone,  # a flag without which there is None says so by its absence
                tyro.conf.PositionalMetavarFromFieldName,
                tyro.conf.OmitArgPrefixes,  # a group of flags adds nothing to their names
            ),
        )
    except SystemExit as stop:  # tyro has printed its help or what is wrong
        return stop.code if isinstance(stop.code, int) else DONE
    check_bounds(read)
    return run(read)


def _refuse_twice(flags: type[Any], arguments: list[str]) -> None:
    """See that no flag of several values is there twice: the first one's would be lost."""
    given = [argument.partition("=")[0] for argument in arguments]
    for name, kind in get_type_hints(flags).items():
        flag = f"--{name.replace('_', '-')}"
        if given.count(flag) > 1 and get_origin(kind) in (tuple, list):
            raise ValueError(f"{flag} is there twice; put all its values behind one")


def load(command: Command) -> tuple[type[Any], Callable[[Any], int]]:
    """Import a command: the dataclass of its flags, and the function that runs them."""
    module_name, _, name = command.flags.partition(":")
    module = importlib.import_module(module_name)
    return getattr(module, name), module.run


def _help(verbs: list[str]) -> str:
    width = max(len(verb) for verb in verbs)
    lines = "\n".join(f"  {verb:{width}}  {COMMANDS[verb].summary}" for verb in verbs)
    return f"""usage: vl COMMAND [flags]

{lines}

vl COMMAND --help  the command's flags
vl --version       the version
--debug            anywhere: where an error came from"""


class _Formatter(logging.Formatter):
    """`vl: ...`, or `vl: warning: ...` and so on for what is more than information.

    Messages quote captions and names of files: nothing in them commands the terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno != logging.INFO else ""
        return escape_unprintable(f"vl: {level}{super().format(record)}")


def _handler(*, debug: bool) -> logging.Handler:
    """Send what the library logs to stderr; other people's only from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.getLogger().addHandler(handler)
    for package in ("vl", "encoders", "decoders", "data"):
        logging.getLogger(package).setLevel(logging.DEBUG if debug else logging.INFO)
    return handler


def _say(message: str) -> None:
    print(escape_unprintable(f"vl: {message}"), file=sys.stderr)


def _one_line(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).splitlines()) or type(error).__name__


if __name__ == "__main__":
    raise SystemExit(main())
