"""`vl train labeller` with the tiny encoder, in a process to be killed or to train with others.

python -m tests.processes.labeller_run [--die-at BATCH] FLAGS
"""

import os
import signal
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from tests.helpers.tiny_captioner import Tiny
from vl.__main__ import main
from vl.data.batches import ImageSource, random_view
from vl.encoders.table import ENCODERS
from vl.labelling import training


def dying_source(batch: int) -> object:
    """Replaces ``random_view``: its source kills the process when asked for a batch."""

    def make(vectors: Tensor) -> ImageSource:
        source, count = random_view(vectors), 0

        def dying(rows: Tensor, draws: Tensor) -> Tensor:
            nonlocal count
            count += 1
            if count == batch:
                os.kill(os.getpid(), signal.SIGKILL)
            return source(rows, draws)

        return dying

    return make


def run(arguments: Sequence[str]) -> int:
    torch.set_num_threads(1)
    ENCODERS["tiny"] = Tiny
    flags = list(arguments)
    if flags[:1] == ["--die-at"]:
        setattr(training, "random_view", dying_source(int(flags[1])))  # noqa: B010
        flags = flags[2:]
    return main(["train", "labeller", *flags])


if __name__ == "__main__":
    raise SystemExit(run(sys.argv[1:]))
