"""Batches of captions: laws of shuffling, dividing and resuming."""

import threading

import pytest
import torch

from vl.data.batches import BatchPlan, CaptionBatches, LabelledBatches, prefetch, random_view

# Image i has i % 3 + 1 captions; each ends in a word that names it, 100 i + j.
CAPTIONS = [[[0, *range(5, 5 + j), 100 * i + j, 1] for j in range(i % 3 + 1)] for i in range(20)]


def rows_and_draws(rows, draws):
    return torch.stack([rows, draws], 1)


def batches(**changes):
    choices = {"batch_size": 6, "seed": 1}
    return CaptionBatches(rows_and_draws, CAPTIONS, **{**choices, **changes})


def names(batch):
    return [
        int(words[length - 2]) for words, length in zip(batch.words, batch.lengths, strict=True)
    ]


def names_of(epoch):
    return sorted(name for batch in epoch for name in names(batch))


EVERY = sorted(caption[-2] for captions in CAPTIONS for caption in captions)


@pytest.mark.parametrize("unit", ["caption", "image"])
@pytest.mark.parametrize("size", [1, 6, 7, 1000])
def test_an_epoch_has_every_caption_once(unit, size):
    assert names_of(batches(unit=unit, batch_size=size).epoch(0)) == EVERY


@pytest.mark.parametrize("unit", ["caption", "image"])
def test_each_caption_stands_beside_its_image(unit):
    for batch in batches(unit=unit).epoch(0):
        rows = batch.images[batch.image_of, 0].tolist()
        assert rows == [name // 100 for name in names(batch)]


def test_by_image_all_captions_of_an_image_come_together():
    for batch in batches(unit="image").epoch(0):
        assert len(set(batch.images[:, 0].tolist())) == len(batch.images) <= 6
        for row in batch.images[:, 0].tolist():
            together = [name for name in names(batch) if name // 100 == row]
            assert len(together) == len(CAPTIONS[row])


@pytest.mark.parametrize("processes", [2, 3, 5])
@pytest.mark.parametrize("unit", ["caption", "image"])
def test_processes_divide_each_batch_without_loss_or_repetition(processes, unit):
    whole = list(batches(unit=unit).epoch(2))
    parts = [
        list(batches(unit=unit, rank=rank, processes=processes).epoch(2))
        for rank in range(processes)
    ]
    assert {len(part) for part in parts} == {len(batches(unit=unit, processes=processes))}
    if len(parts[0]) == len(whole):  # the last batch may have joined the one before
        for index, batch in enumerate(whole):
            together = [name for part in parts for name in names(part[index])]
            assert sorted(together) == sorted(names(batch))
            draws = sorted(d for part in parts for d in part[index].images[:, 1].tolist())
            assert draws == sorted(batch.images[:, 1].tolist())
    assert names_of(batch for part in parts for batch in part) == EVERY


@pytest.mark.parametrize("first", [0, 1, 4])
def test_an_epoch_entered_later_goes_on_as_if_from_the_start(first):
    whole = list(batches().epoch(3))[first:]
    entered = list(batches().epoch(3, first=first))
    assert len(whole) == len(entered) > 0
    for one, other in zip(whole, entered, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(**changes):
        epoch = changes.pop("epoch", 0)
        return [name for batch in batches(**changes).epoch(epoch) for name in names(batch)]

    assert order() == order()
    assert order() != order(epoch=1)
    assert order() != order(seed=2)
    assert order(seed=None) == [caption[-2] for captions in CAPTIONS for caption in captions]


def test_what_no_process_could_share_joins_the_batch_before():
    captions = [[[0, 1]]] * 7
    two = CaptionBatches(rows_and_draws, captions, batch_size=3, rank=0, processes=3)
    assert [len(batch.words) for batch in two.epoch(0)] == [1, 2]  # of 3 and 4


def test_padding_repeats_the_end():
    batch = next(batches(batch_size=1000).epoch(0))
    for words, length in zip(batch.words, batch.lengths, strict=True):
        assert (words[length - 1 :] == 1).all()


def test_one_view_gives_the_view_that_was_drawn():
    vectors = torch.arange(12.0).view(3, 2, 2)
    rows, draws = torch.tensor([0, 0, 2, 1]), torch.tensor([0, 1, 7, 4])
    assert random_view(vectors)(rows, draws).tolist() == [[0, 1], [2, 3], [10, 11], [4, 5]]


@pytest.mark.parametrize(
    ("captions", "changes", "message"),
    [
        (CAPTIONS, {"batch_size": 1, "processes": 2}, "a batch of 1 cannot be shared by 2"),
        ([[], []], {}, "0 captions cannot be shared by 1"),
    ],
)
def test_too_few_to_share_are_refused(captions, changes, message):
    with pytest.raises(ValueError, match=message):
        CaptionBatches(rows_and_draws, captions, **{"batch_size": 4, **changes})


def test_ahead_changes_nothing():
    assert list(prefetch(iter(range(50)))) == list(range(50))


def test_ahead_hands_on_what_went_wrong():
    def items():
        yield 1
        raise OSError("the disk is gone")

    taken = prefetch(items())
    assert next(taken) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(taken)


def test_ahead_leaves_no_thread_behind():
    before = threading.active_count()
    taken = prefetch(iter(range(1000)))
    next(taken)
    taken.close()
    assert threading.active_count() == before


def test_ahead_s_thread_has_no_pool_of_its_own_and_others_keep_theirs():
    """OpenMP's pools of two threads would wait for each other at every small operation."""

    def elsewhere():
        found = []
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        return found[0]

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        taken = prefetch(torch.get_num_threads() for _ in range(2))
        assert list(taken) == [1, 1]
        assert torch.get_num_threads() == 3
        assert elsewhere() == 3
    finally:
        torch.set_num_threads(before)


LABELS = [3 * row % 7 for row in range(20)]


def labelled_batches(**changes):
    return LabelledBatches(rows_and_draws, LABELS, **{"batch_size": 6, "seed": 1, **changes})


@pytest.mark.parametrize("size", [1, 6, 7, 1000])
def test_an_epoch_has_every_labelled_image_once_beside_its_label(size):
    every = list(labelled_batches(batch_size=size).epoch(0))
    assert len(every) == len(labelled_batches(batch_size=size))
    rows = [row for batch in every for row in batch.images[:, 0].tolist()]
    assert sorted(rows) == list(range(20))
    assert [label for batch in every for label in batch.labels.tolist()] == [
        LABELS[row] for row in rows
    ]
    assert {batch.labels.dtype for batch in every} == {torch.int64}


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_divide_labelled_images_and_what_is_drawn_for_them(processes):
    whole = list(labelled_batches(batch_size=5).epoch(2))
    parts = [
        list(labelled_batches(batch_size=5, rank=rank, processes=processes).epoch(2))
        for rank in range(processes)
    ]
    for index, batch in enumerate(whole):
        together = torch.cat([part[index].images for part in parts])
        assert sorted(together.tolist()) == sorted(batch.images.tolist())


@pytest.mark.parametrize("first", [0, 2])
def test_labelled_images_go_on_as_if_from_the_start(first):
    whole = list(labelled_batches().epoch(3))[first:]
    entered = list(labelled_batches().epoch(3, first=first))
    assert len(whole) == len(entered) > 0
    for one, other in zip(whole, entered, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.to("cpu"), other, strict=True))


def test_the_order_of_labelled_images_depends_on_seed_and_epoch():
    def order(epoch=0, **changes):
        return [row for batch in labelled_batches(**changes).epoch(epoch) for row in batch.images]

    def same(one, other):
        return torch.equal(torch.stack(one), torch.stack(other))

    assert same(order(), order())
    assert not same(order(), order(epoch=1))
    assert not same(order(), order(seed=2))


def test_too_few_labelled_images_are_refused():
    with pytest.raises(ValueError, match="a batch of 1 cannot be shared by 2 processes"):
        labelled_batches(batch_size=1, processes=2)
    with pytest.raises(ValueError, match="1 images cannot be shared by 2 processes"):
        LabelledBatches(rows_and_draws, [5], batch_size=4, processes=2)


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize(("rank", "processes"), [(0, 1), (1, 3)])
def test_a_plan_says_what_batches_have(rank, processes, first):
    choices = {"batch_size": 6, "seed": 1, "rank": rank, "processes": processes}
    plan = BatchPlan(20, **choices)
    shares, every = (
        list(plan.epoch(2, first=first)),
        LabelledBatches(rows_and_draws, LABELS, **choices),
    )
    assert len(plan) == len(every) == len(shares) + first
    for share, batch in zip(shares, every.epoch(2, first=first), strict=True):
        assert torch.equal(torch.stack([torch.tensor(share.units), share.draws], 1), batch.images)


def test_a_plan_s_order_and_draws_are_hashed_from_seed_epoch_and_batch():
    def generator(seed, epoch, batch):
        hashed = (seed * 1_000_003 + epoch) * 1_000_033 + batch
        return torch.Generator().manual_seed(hashed)

    order = torch.randperm(7, generator=generator(5, 2, 0)).tolist()
    for index, share in enumerate(BatchPlan(7, batch_size=3, seed=5).epoch(2)):
        units = order[3 * index : 3 * index + 3]
        draws = torch.randint(2**31, (len(units),), generator=generator(5, 2, index + 1))
        assert share.units == units and torch.equal(share.draws, draws)


def test_a_plan_calls_what_it_divides_by_its_name():
    with pytest.raises(ValueError, match="1 pictures cannot be shared by 2 processes"):
        BatchPlan(1, batch_size=4, processes=2, what="pictures")


def test_a_last_batch_of_too_few_is_taken_along_by_the_one_before():
    assert [len(share.units) for share in BatchPlan(9, batch_size=4).epoch(0)] == [4, 4, 1]
    assert [len(share.units) for share in BatchPlan(9, batch_size=4, least=2).epoch(0)] == [4, 5]
    shares = [BatchPlan(19, batch_size=8, least=2, rank=r, processes=2).epoch(0) for r in (0, 1)]
    assert [[len(share.units) for share in mine] for mine in shares] == [[4, 6], [4, 5]]
    assert [len(share.units) for share in BatchPlan(1, batch_size=4, least=2).epoch(0)] == [1]
