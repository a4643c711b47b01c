"""Damaged files of every format give an image or a FormatError, and nothing else."""

import os
import random
import time
from pathlib import Path

import pytest

from vl.data.errors import FormatError
from vl.data.images.decode import decode_uint8, square, with_pixels

SECONDS = 20  # of the processor, for one file; the slowest take one or two


def mutant(data: bytes, generator: random.Random) -> bytes:
    """A file with some bytes changed, mostly of its header; or cut, or with a part twice."""
    changed = bytearray(data)
    end = len(changed)
    kind = generator.randrange(6)
    if kind == 0:
        return bytes(changed[: generator.randrange(end)])
    if kind == 1:
        begin = generator.randrange(end)
        return bytes(changed[:begin] + changed[generator.randrange(end) :])
    for _ in range(generator.choice((1, 2, 4, 16))):
        index = generator.randrange(min(end, 400) if kind < 5 else end)
        changed[index] = generator.choice((0, 1, 127, 128, 255, generator.randrange(256)))
    return bytes(changed)


@pytest.mark.slow
def test_mutants_give_an_image_or_a_format_error(shared_data: Path):
    count = int(os.environ.get("VL_MUTANTS", "300"))  # 10,000 take minutes
    files = sorted(path for path in (shared_data / "decoders").rglob("*") if path.is_file())
    contents = {path: path.read_bytes() for path in files if path.suffix != ".tsv"}
    whole = {path: data for path, data in contents.items() if 0 < len(data) < 1_000_000}
    generator = random.Random(count)
    images = 0
    for index in range(count):
        path, data = generator.choice(list(whole.items()))
        data = mutant(data, generator)
        begin = time.process_time()
        try:
            pixels = with_pixels(data, lambda pixels: square(pixels, 32), name="x")
            assert pixels.shape == (3, 32, 32) and pixels.min() >= 0 and pixels.max() <= 1
            assert decode_uint8(data, "x", min_size=32).shape[0] == 3
            images += 1
        except FormatError as error:
            assert str(error).startswith("x: ") and "\n" not in str(error)
        assert time.process_time() - begin < SECONDS, f"mutant {index} of {path}"
    assert 0.1 * count < images < 0.95 * count
