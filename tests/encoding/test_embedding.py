"""Files of images to a file of embeddings, by two processes at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers.tiny_captioner import captioner, decoder, drawings
from vl.data.embeddings import load_embeddings
from vl.encoders.table import create_encoder

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_same_command_twice_at_once_gives_the_embeddings_of_one(tmp_path):
    """The second process is refused by name while the first is at work, or finds it all done."""
    network = create_encoder("lenet5", {"classes": 2})
    made = captioner(encoder=network, encoder_name="lenet5", decoders=[decoder(width=84)])
    made.save(tmp_path / "model.safetensors")
    drawings(tmp_path / "images", 40)
    flags = ["--weights", "model.safetensors", "--encoder", "lenet5", "--batch-size", "1"]
    command = [sys.executable, "-m", "vl", "embed", "images", *flags, "--output", "images.npy"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        stderr = process.communicate()[1]
        assert process.returncode == 0 or (process.returncode == 2 and "is writing it" in stderr)
    assert 0 in [process.returncode for process in processes]
    embeddings = load_embeddings(tmp_path / "images.npy")
    paths = [tmp_path / "images" / name for name in embeddings.names]
    torch.testing.assert_close(
        embeddings.vectors.float(), made.embedder(paths).half().float(), atol=1e-3, rtol=1e-3
    )
