"""Workers of the loader end when their parent process is killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import multiprocessing, sys, time
import torch
from vl.data.batches import prefetch
from vl.data.labelled.loader import ImageBatches, LoaderConfig
from tests.data.labelled.test_loader import Marks, numbered

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    loader = ImageBatches(numbered(400), Marks(), batch_size=2, config=LoaderConfig(num_workers=2))
    batches = prefetch(loader.epoch(0))
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_workers_die_with_a_parent_that_is_killed(method, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(
        [sys.executable, str(script), method],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        workers = [int(number) for number in parent.stdout.readline().split()]
        assert len(workers) == 2 and all(alive(worker) for worker in workers)
        parent.kill()
    deadline = time.monotonic() + 20
    while any(alive(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(alive(worker) for worker in workers)


def alive(process):
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
