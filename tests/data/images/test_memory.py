"""Large images: the same values in bands, few at a time, and how much memory they take."""

import io
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from vl.data.images.decode import decode_bytes, decode_uint8, square, with_pixels


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def noise(height: int, width: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


SHAPES = [(700, 800), (5, 60_000), (60_000, 5), (2100, 2000)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "I;16"])
def test_large_images_are_processed_in_bands_with_the_same_values(shape, mode):
    if mode == "I;16":
        values = np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)
        image = Image.fromarray(values)
    else:
        image = noise(*shape).convert(mode)
        if mode == "RGBA":
            image.putalpha(noise(*shape).convert("L"))
    data = encoded(image, "TIFF")
    whole = decode_bytes(data, "x")
    exact = mode in ("RGB", "L") or shape[0] * shape[1] < 4_000_000
    for resize in ("squash", "center-crop"):
        small = with_pixels(data, partial(square, size=16, resize=resize))
        if exact:
            assert torch.equal(small, square(whole, 16, resize))
        else:  # in 8 bits
            assert (small - square(whole, 16, resize)).abs().max() <= 0.5 / 255
    assert torch.equal(decode_uint8(data, "x"), (whole * 255).round().byte())


def test_huge_images_are_processed_one_at_a_time():
    """Those of more than half of the limit together; small ones side by side."""
    now, most, lock = 0, {}, threading.Lock()
    meeting = threading.Barrier(2)

    def use(size):
        nonlocal now
        with lock:
            now += 1
            most[size] = max(most.get(size, 0), now)
        if size == 10:
            meeting.wait(10)  # both must be here
        with lock:
            now -= 1

    for size in (7100, 10):
        data = encoded(Image.new("1", (size, size)), "PNG")
        with ThreadPoolExecutor(2) as pool:
            tasks = [
                pool.submit(with_pixels, data, lambda _, size=size: use(size)) for _ in range(2)
            ]
            for task in tasks:
                task.result()
    assert most == {7100: 1, 10: 2}
    with pytest.raises(ZeroDivisionError):  # lets the next in
        with_pixels(data, lambda _: 1 / 0)
    assert with_pixels(data, lambda pixels: pixels.shape) == (3, 10, 10)


PEAK = """
import resource, sys
from pathlib import Path
from vl.data.images.decode import square, with_pixels
from vl.data.images.read_ahead import read_or_report
def read(path):
    return with_pixels(path, lambda pixels: square(pixels, 16))
def peak(paths):
    read(paths[0])
    for batch in read_or_report(paths, read, batch_size=8):
        assert len(batch.results) == len(paths), batch.failures
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
small, large = (Path(path) for path in sys.argv[1:])
before = peak([small] * 4)
print(peak([large] * 4) - before)
"""


def _decode_small(data):
    torch.set_num_threads(1)  # the parent's are not here
    assert decode_bytes(data, "x").shape == (3, 1000, 1000)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_its_parents_threads():
    huge, small = (encoded(Image.new("1", (n, n)), "PNG") for n in (9990, 1000))
    decoded, done = threading.Event(), threading.Event()

    def use(pixels):
        decoded.set()
        done.wait(20)

    thread = threading.Thread(target=with_pixels, args=(huge, use))
    thread.start()
    try:
        assert decoded.wait(10)
        child = multiprocessing.get_context("fork").Process(target=_decode_small, args=(small,))
        child.start()
        child.join(5)
        child.kill()
        child.join()
    finally:
        done.set()
        thread.join()
    assert child.exitcode == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_four_huge_images_take_the_memory_of_one(mode, tmp_path):
    side = 7200  # more than half of the limit
    for name, size in (("small", 20), ("large", side)):
        Image.new(mode, (size, size)).save(tmp_path / f"{name}.png")
    paths = [tmp_path / "small.png", tmp_path / "large.png"]
    command = [sys.executable, "-c", PEAK, *map(str, paths)]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1024
    assert peak < 7 * side**2 * 1.3
