"""Processes that tests kill, or that train together.

python -m tests.processes.encoder_run MOMENT RANK FLAGS ... is `vl train encoder FLAGS ...`, of
which the process of that rank kills itself at that moment, unless torchrun has restarted it.
Moments are before and after steps, checkpoints, saved encoders and renamed files.
"""

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vl.__main__ import main
from vl.encoding import (
    encoder_file,
    finetuning,  # imported once, before processes are forked
)
from vl.training import checkpoint
from vl.training import loop as training

assert finetuning
_SECONDS = 100  # a process that takes longer hangs
_KILLED = signal.SIGKILL

# Forked from a server that has imported all this, a process starts at once, without PyTorch's
# threads.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [__name__ if __name__ != "__main__" else "tests.processes.encoder_run"]
)


class Ended(NamedTuple):
    """How processes ended."""

    codes: list[int]  # by rank; -9 for one that was killed
    output: str  # on stdout and stderr, of all of them


def together(
    target: Callable[..., Any], *arguments: object, log: Path, size: int = 1, restart: int = 0
) -> Ended:
    """Run a function in several processes as torchrun would start them."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    environment = {"TORCHELASTIC_RESTART_COUNT": str(restart)}
    if size > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(size)}
    processes = [
        _context.Process(target=_run, args=(rank, size, environment, str(log), target, arguments))
        for rank in range(size)
    ]
    for each in processes:
        each.start()
    for each in processes:
        each.join(_SECONDS)
    codes = [each.exitcode for each in processes]
    for each in processes:
        if each.exitcode is None:
            each.kill()
            each.join()
    output = log.read_text()
    assert None not in codes, f"a process hangs:\n{output}"
    return Ended([code for code in codes if code is not None], output)


def encoder(*flags: object, die_at: int = 0, die_rank: int = 0) -> int:
    """`vl train encoder`, killed at a moment; 0 is never."""
    torch.use_deterministic_algorithms(True)
    restarted = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    if die_at and not restarted and os.environ.get("RANK", "0") == str(die_rank):
        _count_moments(die_at)
    return main(["train", "encoder", *map(str, flags)])


def moments() -> int:
    """The count of moments in this process after ``_count_moments``."""
    return _moments


_moments = 0


def _count_moments(die_at: int) -> None:
    """Count moments, and kill this process at one."""

    def moment() -> None:
        global _moments
        _moments += 1
        if _moments == die_at:
            os.kill(os.getpid(), _KILLED)

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def with_moments(*arguments: Any, **named: Any) -> Any:
            moment()
            result = original(*arguments, **named)
            moment()
            return result

        setattr(owner, name, with_moments)

    watch(training, "optimizer_step")
    watch(checkpoint, "save")
    watch(encoder_file, "save")
    watch(Path, "replace")


def counted(path: str, *flags: object) -> int:
    """`vl train encoder`; the count of its moments is written to a file."""
    _count_moments(0)
    code = encoder(*flags)
    Path(path).write_text(str(moments()))
    return code


def killed(die_at: int, die_rank: int, *flags: object) -> int:
    """`vl train encoder`, killed."""
    return encoder(*flags, die_at=die_at, die_rank=die_rank)


def _run(
    rank: int,
    size: int,
    environment: dict[str, str],
    log: str,
    target: Callable[..., Any],
    arguments: tuple[object, ...],
) -> None:
    os.environ.update(environment)
    if size > 1:
        os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank)})
    out = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    torch.set_num_threads(1)
    # Another forkserver, for a loader's workers, would import everything again.
    multiprocessing.set_start_method("fork", force=True)
    sys.exit(target(*arguments))


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(killed(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
