"""The command line: parses a command's flags, runs it, and reports errors in one line.

It knows no command's flags: the modules of vl/commands have them, and only the one that is run is
imported. Here it imports little, as until `main` runs an interruption prints a traceback.
"""

import importlib
import os
import signal
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, get_origin, get_type_hints

from vl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from vl.streams import Stream

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
    "download": "Download published weights, captions, images or word vectors",
    "import-weights": "Convert weights of Caffe, torchvision or timm to a model file",
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
        file that is missing or malformed, or that cannot be written; 130 interrupted; 141 the
        reader of stdout has closed it, and there is no other output.
    """
    with ExitStack() as resources:
        interrupt = resources.enter_context(_Interrupt(resources))
        from vl.streams import Stream, log_to_stderr, print_error

        arguments = sys.argv[1:] if argv is None else argv
        debug = "--debug" in arguments
        stdout = Stream(sys.stdout, "standard output", optional=False)
        resources.enter_context(redirect_stdout(stdout))
        stderr = Stream(sys.stderr, "standard error", optional=True)
        resources.enter_context(redirect_stderr(stderr))
        resources.enter_context(log_to_stderr(debug=debug))
        try:
            code = _run([it for it in arguments if it != "--debug"], stdout, resources)
            stdout.flush()
        except BrokenPipeError:
            return PIPE_CLOSED
        except BaseException as error:
            if interrupt.received or isinstance(error, KeyboardInterrupt):
                # A library may have made another error of it.
                kept = str(error) if isinstance(error, KeyboardInterrupt) else ""
                print_error(f"interrupted; {kept}" if kept else "interrupted")
                return INTERRUPTED
            message = _message(error)
            if message is None:
                raise  # a bug, or help
            if debug:
                import traceback

                traceback.print_exc()
            print_error(f"error: {message}")
            return WRONG_USE
    return code


class _Interrupt:
    """Ctrl-C: a KeyboardInterrupt, but for imports, some of which swallow it.

    An interrupted import ends the process at once: what is being written then is no worse than
    after a kill.
    """

    def __init__(self, resources: ExitStack) -> None:
        self._resources = resources
        self._before: Any = None
        self.received = False

    def __enter__(self) -> "_Interrupt":
        # Another handler is another program's, or a shell's, which ignores Ctrl-C for `vl ... &`.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            with suppress(ValueError):  # not in the main thread, which gets no signals
                self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, _: int, frame: FrameType | None) -> None:
        self.received = True
        while frame and frame.f_code is not main.__code__:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                with suppress(OSError):  # nobody reads it
                    os.write(2, b"vl: interrupted\n")
                with suppress(BaseException):
                    self._resources.close()  # locks
                os._exit(INTERRUPTED)
            frame = frame.f_back
        raise KeyboardInterrupt


def parse(arguments: list[str]) -> "tuple[Any, Callable[[Any], int]]":
    """The flags of a command line, within their bounds, and the function that runs the command.

    Whether files exist is not checked, see ``check_files``.

    Raises:
        ValueError: there is no such command, or a value is out of bounds.
        SystemExit: after help or the version on stdout, or wrong flags on stderr.
    """
    from vl.commands.bounds import check_bounds

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
    from difflib import get_close_matches

    names = family or list(COMMANDS)
    if close := get_close_matches(unknown, names):
        raise ValueError(f"no command {unknown!r}; did you mean {' or '.join(close)}?")
    raise ValueError(f"no command {unknown!r}; choose from {', '.join(names)}")


def load(name: str) -> "tuple[type[Any], Callable[[Any], int]]":
    """Import a command: the dataclass of its flags, and the function that runs it."""
    module = importlib.import_module(f"vl.commands.{name.replace(' ', '_').replace('-', '_')}")
    return get_type_hints(module.run)["flags"], module.run


def _run(arguments: list[str], stdout: "Stream", resources: ExitStack) -> int:
    try:
        flags, run = parse(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else DONE
    from vl.commands.bounds import check_files
    from vl.data.outputs import lock_output

    outputs = check_files(flags)
    stdout.optional = bool(outputs.files or outputs.folders)
    for path, kind in outputs.files:
        if not kind.resumed:
            resources.enter_context(lock_output(path))
    for path, folder_kind in outputs.folders:
        if not folder_kind.resumed:
            resources.enter_context(lock_output(path, folder=True))
    return run(flags)


def _parse_flags(name: str, flags_type: type[Any], arguments: list[str]) -> Any:
    import tyro

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
    from dataclasses import is_dataclass

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


def _message(error: BaseException) -> str | None:
    """What went wrong in one line; None if it is a bug."""
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        from vl.data.files import DISK_FULL

        cure = "free some space and run the same command again" if error.errno in DISK_FULL else ""
        parts = (f"{error.filename}: {error.strerror}", getattr(error, "kept", "") or cure)
        return "; ".join(filter(None, parts))
    if isinstance(error, ValueError | OSError):
        return " ".join(text.splitlines()) or type(error).__name__
    # PyTorch has no exception class for memory that ran out on a CPU.
    no_memory = isinstance(error, MemoryError | RuntimeError) and (
        isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text
    )
    return "out of memory; try a smaller --batch-size" if no_memory else None


if __name__ == "__main__":
    raise SystemExit(main())
