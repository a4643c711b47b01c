"""Batches: laws of shuffling, dividing among processes and resuming; items computed ahead."""

import threading

import pytest
import torch

from vl.data.batches import BatchPlan, CaptionBatches, LabelledBatches, prefetch, random_view

# Image i has i % 3 + 1 captions; each ends in a word that identifies it, 100 i + j.
CAPTIONS = [[[0, *range(5, 5 + j), 100 * i + j, 1] for j in range(i % 3 + 1)] for i in range(20)]
ALL = sorted(caption[-2] for captions in CAPTIONS for caption in captions)
LABELS = [3 * index % 7 for index in range(20)]


def indices_and_seeds(indices, seeds):
    return torch.stack([indices, seeds], 1)


def caption_batches(**changes):
    return CaptionBatches(indices_and_seeds, CAPTIONS, **{"batch_size": 6, "seed": 1, **changes})


def labelled_batches(**changes):
    return LabelledBatches(indices_and_seeds, LABELS, plan(**changes))


def plan(**changes):
    return BatchPlan(20, **{"batch_size": 6, "seed": 1, **changes})


def marks(batch):
    """The identifying words of a batch's captions."""
    ends = zip(batch.words, batch.lengths, strict=True)
    return [int(words[length - 2]) for words, length in ends]


def order(batches, epoch=0):
    """The images of an epoch in order, with their seeds."""
    return [pair for batch in batches.epoch(epoch) for pair in batch.images.tolist()]


@pytest.mark.parametrize("unit", ["caption", "image"])
@pytest.mark.parametrize("size", [1, 6, 7, 1000])
def test_epoch_has_every_caption_once(unit, size):
    epoch = caption_batches(unit=unit, batch_size=size).epoch(0)
    assert sorted(mark for batch in epoch for mark in marks(batch)) == ALL


@pytest.mark.parametrize("size", [1, 6, 7, 1000])
def test_epoch_has_every_labelled_image_once_with_its_label(size):
    batches = labelled_batches(batch_size=size)
    epoch = list(batches.epoch(0))
    assert len(epoch) == len(batches)
    indices = [index for batch in epoch for index in batch.images[:, 0].tolist()]
    assert sorted(indices) == list(range(20))
    assert torch.cat([batch.labels for batch in epoch]).tolist() == [LABELS[i] for i in indices]
    assert {batch.labels.dtype for batch in epoch} == {torch.int64}


@pytest.mark.parametrize("unit", ["caption", "image"])
def test_captions_match_their_images(unit):
    for batch in caption_batches(unit=unit).epoch(0):
        indices = batch.images[batch.image_of, 0].tolist()
        assert indices == [mark // 100 for mark in marks(batch)]
        assert batch.indices.tolist() == batch.images[:, 0].tolist()


def test_unit_image_has_all_captions_of_an_image_in_one_batch():
    for batch in caption_batches(unit="image").epoch(0):
        assert len(set(batch.images[:, 0].tolist())) == len(batch.images) <= 6
        for index in batch.images[:, 0].tolist():
            captions = [mark for mark in marks(batch) if mark // 100 == index]
            assert len(captions) == len(CAPTIONS[index])


@pytest.mark.parametrize("world_size", [2, 3, 5])
@pytest.mark.parametrize("unit", ["caption", "image"])
def test_processes_divide_each_batch(world_size, unit):
    choices = {"unit": unit, "batch_size": 7}
    whole = list(caption_batches(**choices).epoch(2))
    parts = [
        list(caption_batches(**choices, rank=rank, world_size=world_size).epoch(2))
        for rank in range(world_size)
    ]
    assert {len(part) for part in parts} == {len(caption_batches(**choices, world_size=world_size))}
    if len(parts[0]) == len(whole):  # else the last batch was appended to the one before
        for index, batch in enumerate(whole):
            together = [mark for part in parts for mark in marks(part[index])]
            assert sorted(together) == sorted(marks(batch))
            seeds = torch.cat([part[index].images for part in parts])
            assert sorted(seeds.tolist()) == sorted(batch.images.tolist())
    assert sorted(mark for part in parts for batch in part for mark in marks(batch)) == ALL


@pytest.mark.parametrize("make", [caption_batches, labelled_batches])
@pytest.mark.parametrize("first", [0, 1, 3])
def test_epoch_can_start_at_any_batch(make, first):
    whole = list(make().epoch(3))[first:]
    resumed = list(make().epoch(3, first=first))
    assert len(whole) == len(resumed) > 0
    for one, other in zip(whole, resumed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.to("cpu"), other, strict=True))


@pytest.mark.parametrize("make", [caption_batches, labelled_batches])
def test_order_depends_on_seed_and_epoch_alone(make):
    assert order(make()) == order(make())
    assert order(make()) != order(make(), epoch=1)
    assert order(make()) != order(make(seed=2))


def test_no_seed_keeps_the_order():
    epoch = caption_batches(seed=None).epoch(0)
    expected = [caption[-2] for captions in CAPTIONS for caption in captions]
    assert [mark for batch in epoch for mark in marks(batch)] == expected


def test_padding_repeats_the_end_word():
    batch = next(caption_batches(batch_size=1000).epoch(0))
    for words, length in zip(batch.words, batch.lengths, strict=True):
        assert (words[length - 1 :] == 1).all()


def test_random_view_is_selected_by_the_seed():
    vectors = torch.arange(12.0).view(3, 2, 2)
    indices, seeds = torch.tensor([0, 0, 2, 1]), torch.tensor([0, 1, 7, 4])
    assert random_view(vectors)(indices, seeds).tolist() == [[0, 1], [2, 3], [10, 11], [4, 5]]


def test_order_and_seeds_are_hashed_from_seed_epoch_and_batch():
    def generator(seed, epoch, batch):
        hashed = (seed * 1_000_003 + epoch) * 1_000_033 + batch
        return torch.Generator().manual_seed(hashed)

    expected = torch.randperm(20, generator=generator(5, 2, 0)).tolist()
    for index, part in enumerate(plan(seed=5).epoch(2)):
        units = expected[6 * index : 6 * index + 6]
        seeds = torch.randint(2**31, (len(units),), generator=generator(5, 2, index + 1))
        assert part.units == units and torch.equal(part.seeds, seeds)


def test_small_last_batch_is_appended_to_the_one_before():
    def sizes(num_units, batch_size, **choices):
        epoch = BatchPlan(num_units, batch_size=batch_size, **choices).epoch(0)
        return [len(part.units) for part in epoch]

    assert sizes(9, 4) == [4, 4, 1]
    assert sizes(9, 4, min_per_process=2) == [4, 5]
    assert sizes(1, 4, min_per_process=2) == [1]
    assert sizes(7, 3, world_size=3) == [1, 2]  # of 3 and 4
    choices = {"min_per_process": 2, "world_size": 2}
    assert [sizes(19, 8, rank=rank, **choices) for rank in (0, 1)] == [[4, 6], [4, 5]]


def test_refuses_batches_that_processes_cannot_share():
    for make in (caption_batches, plan):
        with pytest.raises(ValueError, match="a batch of 1"):
            make(batch_size=1, world_size=2)
    with pytest.raises(ValueError, match="0 captions"):
        CaptionBatches(indices_and_seeds, [[], []], batch_size=4)
    with pytest.raises(ValueError, match="1 units"):
        BatchPlan(1, batch_size=4, world_size=2)


def test_prefetch_gives_the_same_items_and_the_exception_after_them():
    def items():
        yield from range(50)
        raise OSError("the disk is gone")

    ahead = prefetch(items())
    assert [next(ahead) for _ in range(50)] == list(range(50))
    with pytest.raises(OSError, match="disk"):
        next(ahead)


def test_prefetch_closes_its_thread():
    before = threading.active_count()
    ahead = prefetch(iter(range(1000)))
    next(ahead)
    ahead.close()
    assert threading.active_count() == before


def test_prefetch_has_no_openmp_pool_and_restores_that_of_others():
    """OpenMP's pools of two threads would wait for each other at every small operation."""

    def in_new_thread():
        counts = []
        thread = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        return counts[0]

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert list(prefetch(torch.get_num_threads() for _ in range(2))) == [1, 1]
        assert torch.get_num_threads() == 3
        assert in_new_thread() == 3
    finally:
        torch.set_num_threads(before)
