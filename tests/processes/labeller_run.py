"""`vl train labeller` with the little encoder, as a process of its own, to be killed or to be shared.

python -m tests.devise_run [--die-at BATCH] FLAGS
"""

import os
import signal
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from tests.helpers.tiny_captioner import Tiny
from vl.__main__ import main
from vl.commands import train_labeller as train_devise
from vl.data.batches import ImageSource
from vl.encoders.table import ENCODERS


def dying(random_view: type[ImageSource], at: int) -> object:
    """A source of images that kills the process when it is asked for a batch for the n-th time."""

    def made(vectors: Tensor) -> ImageSource:
        asked = 0

        def source(rows: Tensor, draws: Tensor) -> Tensor:
            nonlocal asked
            asked += 1
            if asked == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return random_view(vectors)(rows, draws)

        return source

    return made


def run(arguments: Sequence[str]) -> int:
    torch.set_num_threads(1)
    ENCODERS["tiny"] = Tiny
    flags = list(arguments)
    if flags[:1] == ["--die-at"]:
        setattr(train_devise, "one_view", dying(train_devise.random_view, int(flags[1])))  # noqa: B010
        flags = flags[2:]
    return main(["train", "labeller", *flags])


if __name__ == "__main__":
    raise SystemExit(run(sys.argv[1:]))
