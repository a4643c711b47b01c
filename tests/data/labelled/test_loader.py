"""Batches of images are those of vl.data.batches, whichever worker computes them."""

import io
import logging
import multiprocessing
import os
import re
import signal
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from PIL import Image

from vl.data.batches import BatchPlan
from vl.data.images.augmentation import Augmentation
from vl.data.labelled.loader import ImageBatches, LoaderConfig

# Python 3.12 and 3.13 say this of any process that has threads, as PyTorch's have.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*use of fork.*:DeprecationWarning", "ignore:This DataLoader will create:UserWarning"
)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


@dataclass
class InMemory:
    """Images in memory; those of ``lost`` cannot be read."""

    encoded: list[bytes]
    lost: dict[int, OSError] = field(default_factory=dict)

    def __post_init__(self):
        self.names = [f"{row}.png" for row in range(len(self.encoded))]
        self.labels = [row * 3 % 7 for row in range(len(self.encoded))]

    def read(self, row):
        if row in self.lost:
            raise self.lost[row]
        return self.encoded[row]


def loader(dataset, transform=None, *, workers=0, max_corrupt=0.01, min_size=None, **choices):
    config = LoaderConfig(workers, max_corrupt, min_size)
    return ImageBatches(
        dataset, transform or Marks(), **{"batch_size": 4, **choices}, config=config
    )


@dataclass
class Marks:
    """A square that encodes the index of its image and the seed."""

    size: int = 4

    def __call__(self, pixels, seed):
        row = int(pixels[0, 0, 0]) * 256 + int(pixels[1, 0, 0])
        marks = torch.tensor([row >> 8, row & 255, *seed.to_bytes(4, "big")], dtype=torch.uint8)
        square = torch.zeros(3, self.size, self.size, dtype=torch.uint8)
        square.view(-1)[:6] = marks
        return square


@dataclass
class Threads:
    """A square of PyTorch's number of threads."""

    size: int = 1

    def __call__(self, pixels, seed):
        return torch.full((3, 1, 1), torch.get_num_threads(), dtype=torch.uint8)


@dataclass
class Fatal:
    """Kills the process that transforms image 3."""

    size: int = 1

    def __call__(self, pixels, seed):
        if pixels[1, 0, 0] == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return pixels[:, :1, :1]


def numbered(count):
    """Images of one pixel, whose color is their index."""
    pixels = [[[[row >> 8, row & 255, 0]]] for row in range(count)]
    return InMemory([png(np.array(pixel, dtype=np.uint8)) for pixel in pixels])


def noise_images(count):
    generator = np.random.default_rng(0)
    shapes = [(9 + row % 5, 8 + row % 3, 3) for row in range(count)]
    return InMemory([png(generator.integers(0, 256, shape, dtype=np.uint8)) for shape in shapes])


def indices_and_seeds(batch):
    marks = batch.images.flatten(1)[:, :6].long()
    powers = 256 ** torch.arange(3, -1, -1)
    return torch.stack([marks[:, 0] * 256 + marks[:, 1], (marks[:, 2:] * powers).sum(1)], 1)


def same(one, other):
    return len(one) == len(other) > 0 and all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
        for a, b in zip(one, other, strict=True)
    )


@contextmanager
def start_method(name):
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(name, force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(before, force=True)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("count", "processes", "size"),
    [(1, 1, 1), (1, 1, 5), (20, 1, 6), (20, 2, 6), (23, 3, 5), (300, 4, 37), (7, 3, 3), (5, 5, 5)],
)
def test_epoch_has_every_image_once_as_planned(count, processes, size, workers):
    dataset = numbered(count)
    rows = []
    for rank in range(processes):
        choices = {"batch_size": size, "seed": 4, "rank": rank, "world_size": processes}
        images = loader(dataset, workers=workers, **choices)
        # At least two images, for batch normalization.
        expected = BatchPlan(count, min_per_process=2, **choices)
        batches = list(images.epoch(1))
        assert len(batches) == len(images) == len(expected)
        for one, share in zip(batches, expected.epoch(1), strict=True):
            units = torch.tensor(share.units)
            assert torch.equal(indices_and_seeds(one), torch.stack([units, share.seeds], 1))
            assert torch.equal(one.labels, torch.tensor(dataset.labels)[units])
            assert one.images.dtype == torch.uint8 and one.labels.dtype == torch.int64
            rows += share.units
    assert sorted(rows) == list(range(count))


@pytest.mark.parametrize("first", [0, 1, 3])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_resumed_epoch_is_bit_identical_with_any_number_of_workers(first, workers):
    def epoch(workers, *arguments, **choices):
        images = loader(noise_images(22), Augmentation(8), batch_size=5, seed=1, workers=workers)
        return list(images.epoch(*arguments, **choices))

    whole = epoch(0, 2)
    assert same(epoch(workers, 2, first=first), whole[first:])
    assert not same(epoch(workers, 3, first=first), whole[first:])


def test_epoch_resumed_at_its_end_is_empty():
    assert list(loader(numbered(6), batch_size=3).epoch(0, first=2)) == []


@pytest.mark.slow
def test_workers_of_a_forkserver():
    def epoch(workers):
        images = loader(noise_images(12), Augmentation(8), batch_size=5, seed=1, workers=workers)
        return list(images.epoch(0))

    with start_method("forkserver"):
        assert same(epoch(2), epoch(0))


def test_workers_use_one_thread_and_this_process_keeps_its_own():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        epoch = loader(numbered(4), Threads(), batch_size=2, workers=1).epoch(0)
        assert {int(count) for batch in epoch for count in batch.images.flatten()} == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("workers", [0, 2])
def test_global_random_state_is_unchanged(workers):
    before = torch.get_rng_state()
    list(loader(numbered(9), workers=workers).epoch(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
def test_abandoned_epoch_ends_its_workers(workers):
    epoch = loader(numbered(300), workers=workers).epoch(0)
    next(epoch)
    epoch.close()
    assert multiprocessing.active_children() == []


def damaged(count, *rows):
    dataset = numbered(count)
    for row in rows:
        dataset.encoded[row] = dataset.encoded[row][:45]  # in the midst of the pixels
    return dataset


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_images_are_left_out_warned_of_once_and_counted(workers, caplog):
    dataset = damaged(20, 3, 11)
    dataset.lost[5] = FileNotFoundError(2, "No such file or directory")
    dataset.lost[6] = OSError("the disk is gone")
    images = loader(dataset, workers=workers, max_corrupt=0.2)
    whole = loader(numbered(20))
    with caplog.at_level(logging.WARNING):
        for epoch in range(2):
            for one, other in zip(images.epoch(epoch), whole.epoch(epoch), strict=True):
                indices = enumerate(indices_and_seeds(other)[:, 0].tolist())
                rows = [row for row, index in indices if index not in (3, 5, 6, 11)]
                assert torch.equal(one.images, other.images[rows])
                assert torch.equal(one.labels, other.labels[rows])
    assert sorted(images.corrupt) == [3, 5, 6, 11]
    keys = ("11.png: .*damaged", "3.png: .*damaged", "5.png: No such", "6.png: .*disk")
    messages = sorted(record.message for record in caplog.records)
    for message, key in zip(messages, keys, strict=True):
        assert re.search(key, message)


@pytest.mark.parametrize("workers", [0, 2])
def test_empty_batch_is_still_given(workers):
    dataset = damaged(6, 0, 1, 2, 3, 4)
    images = loader(dataset, Marks(5), batch_size=2, workers=workers, max_corrupt=1)
    batches = list(images.epoch(0))
    assert sorted(len(batch.images) for batch in batches) == [0, 0, 1]
    for batch in batches:
        assert batch.images.shape[1:] == (3, 5, 5) and batch.images.dtype == torch.uint8
        assert batch.labels.shape == (len(batch.images),) and batch.labels.dtype == torch.int64


@pytest.mark.parametrize("workers", [0, 2])
def test_refuses_more_corrupt_images_than_max_corrupt(workers):
    def epoch(max_corrupt):
        images = loader(damaged(40, 1, 2), workers=workers, max_corrupt=max_corrupt)
        return list(images.epoch(0))

    assert len(epoch(0.05)) == 10  # 2 of 40
    with pytest.raises(ValueError, match=r"2 of 40 .* [12]\.png"):
        epoch(0.049)
    with pytest.raises(ValueError, match="1 of 40"):
        epoch(0)


def test_min_size_of_jpegs():
    @dataclass
    class ShapeOf:
        size: int = 1

        def __call__(self, pixels, seed):
            return torch.tensor([*pixels.shape], dtype=torch.uint8).view(3, 1, 1)

    file = io.BytesIO()
    Image.new("RGB", (200, 160)).save(file, "JPEG")
    for min_size, shape in ((None, [3, 160, 200]), (40, [3, 40, 50]), (41, [3, 80, 100])):
        images = loader(InMemory([file.getvalue()]), ShapeOf(), min_size=min_size)
        assert next(images.epoch(0)).images.flatten().tolist() == shape


# PyTorch raises from a signal handler; if that happens between the opening of a socket and its
# ``with``, the socket is left to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_death_of_a_worker_is_an_error():
    with pytest.raises(ChildProcessError, match="died"):
        list(loader(numbered(6), Fatal(), batch_size=2, workers=1).epoch(0))


@pytest.mark.parametrize("workers", [0, 1])
def test_programming_errors_are_raised(workers):
    with pytest.raises(RuntimeError, match="size"):  # a square of 3 values has no room for 6
        list(loader(numbered(6), Marks(1), batch_size=2, workers=workers).epoch(0))
    assert multiprocessing.active_children() == []


def test_refuses_fewer_images_than_processes():
    with pytest.raises(ValueError, match="6 images"):
        loader(numbered(6), batch_size=9, world_size=7)
