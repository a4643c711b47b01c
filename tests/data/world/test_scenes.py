"""The drawn world's truth: the same by the same seed, splits apart, relations that hold."""

import json
import math
from collections import Counter

import pytest

from vl.data.world.kinds import SEEN, UNSEEN
from vl.data.world.scenes import (
    COLOURS,
    GROUNDS,
    INVERSE,
    SIZES,
    SPLITS,
    TEXTURES,
    Group,
    Place,
    Scene,
    as_json,
    from_json,
    held_out,
    imagined,
    scene,
)


@pytest.fixture(scope="module")
def scenes():
    return {split: [scene(split, number) for number in range(800)] for split in SPLITS}


def everything(scenes):
    return [each for split in scenes.values() for each in split]


def test_a_seed_a_split_and_a_number_say_everything():
    assert scene("test", 3) == scene("test", 3, seed=0)
    others = [scene("test", 3, seed=1), scene("test", 4), scene("development", 3)]
    assert all(other.groups != scene("test", 3).groups for other in others)


def test_a_scene_does_not_change_from_one_version_to_the_next():
    # Worlds are made anew where they are wanted: if this fails, so does all comparison with an
    # older world, and the version in vl.data.world.files must go up. The values are our own output.
    first = scene("training", 0).main
    assert (first.kind, first.colour, first.amount) == ("star", "white", 2)
    assert scene("held-out-kinds", 0).main.kind == "wheel"


def test_no_split_has_a_scene_of_another(scenes):
    seen = [each.groups for each in everything(scenes)]
    assert len(set(seen)) == len(seen)


def test_held_out_combinations_are_one_colour_a_kind_and_every_colour():
    pairs = [(kind, colour) for kind in SEEN for colour in COLOURS if held_out(kind, colour)]
    assert sorted(kind for kind, _ in pairs) == sorted(SEEN)
    times = Counter(colour for _, colour in pairs)
    assert set(times) == set(COLOURS)
    assert max(times.values()) <= 3
    assert not any(held_out(kind, colour) for kind in UNSEEN for colour in COLOURS)


@pytest.mark.parametrize("split", ["training", "development", "test"])
def test_ordinary_splits_have_every_kind_and_colour_but_no_held_out_pair(split, scenes):
    groups = [group for each in scenes[split] for group in each.groups]
    assert {group.kind for group in groups} == set(SEEN)
    assert {group.colour for group in groups} == set(COLOURS)
    assert not any(held_out(group.kind, group.colour) for group in groups)


def test_main_things_of_the_held_out_splits_are_held_out(scenes):
    for each in scenes["held-out-combinations"]:
        assert held_out(each.main.kind, each.main.colour)
    assert {each.main.kind for each in scenes["held-out-kinds"]} == set(UNSEEN)
    for split in ("held-out-combinations", "held-out-kinds"):
        for each in scenes[split]:
            for other in each.groups[1:]:  # beside it is what training knows
                assert other.kind in SEEN
                assert not held_out(other.kind, other.colour)


def test_kinds_and_colours_are_about_equally_common(scenes):
    main = [each.main for each in scenes["training"]]
    for counts in (Counter(one.kind for one in main), Counter(one.colour for one in main)):
        expected = len(main) / len(counts)
        assert all(0.5 * expected < count < 1.6 * expected for count in counts.values())


def test_everything_that_there_is_comes_up(scenes):
    for split in SPLITS:
        groups = [group for each in scenes[split] for group in each.groups]
        assert {group.texture for group in groups} == set(TEXTURES)
        assert {group.size for group in groups} == set(SIZES)
        assert {group.amount for group in groups} == {1, 2, 3}
        assert {each.ground for each in scenes[split]} == set(GROUNDS)
    relations = {
        relation
        for each in everything(scenes)
        if len(each.groups) == 2
        for relation in each.relations(0, 1) | each.relations(1, 0)
    }
    assert relations == set(INVERSE)


def test_things_are_within_the_picture_and_small_is_smaller_than_big(scenes):
    radii = {size: [] for size in SIZES}
    for each in everything(scenes):
        for group in each.groups:
            for place in group.places:
                radii[group.size].append(place.radius)
                assert place.radius <= min(place.x, place.y, 1 - place.x, 1 - place.y)
    assert 1.3 * max(radii["small"]) < min(radii["big"])


def test_things_do_not_hide_each_other(scenes):
    for each in everything(scenes):
        places = [place for group in each.groups for place in group.places]
        for one in places:
            for other in places:
                apart = math.hypot(one.x - other.x, one.y - other.y)
                if one is not other and apart > 0:
                    assert apart >= 0.92 * (one.radius + other.radius)
                elif one is not other:  # in a ring's hole, corners too
                    assert each.main.kind == "ring"
                    inner, outer = sorted((one.radius, other.radius))
                    assert inner * math.sqrt(2) < 0.66 * outer


def test_of_two_things_the_main_one_is_the_bigger_and_of_another_kind(scenes):
    for each in everything(scenes):
        if len(each.groups) == 2:
            assert each.groups[0].kind != each.groups[1].kind
            assert [group.size for group in each.groups] == ["big", "small"]
            assert [group.amount for group in each.groups] == [1, 1]


def test_every_two_things_have_one_place_to_each_other_and_the_inverse_the_other_way(scenes):
    for each in everything(scenes):
        if len(each.groups) == 2:
            there, back = each.relations(0, 1), each.relations(1, 0)
            assert len(there - {"bigger than"}) == 1
            assert "bigger than" in there
            assert {INVERSE[relation] for relation in there} == back
        else:
            assert each.relations(0, 0) == frozenset()


def pair(x, y, *, radius=0.15):
    """A small ball at a place, and a big key at (0.5, 0.5)."""
    ball = Group("ball", "red", "plain", "small", (Place(x, y, radius, 0, False),))
    key = Group("key", "black", "plain", "big", (Place(0.5, 0.5, 0.25, 0, False),))
    return Scene("test", 0, 0, (key, ball), "sand")


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (0.1, 0.5, {"left of"}),
        (0.9, 0.6, {"right of"}),
        (0.5, 0.1, {"above"}),
        (0.6, 0.9, {"below"}),
        (0.52, 0.5, {"inside"}),
        (0.1, 0.1, set()),  # as much above as left: no word says which
    ],
)
def test_relations_are_as_a_reader_of_the_places_says(x, y, expected):
    assert pair(x, y).relations(1, 0) == expected | {"smaller than"}


def test_an_imagined_scene_is_in_no_split_and_of_all_kinds(scenes):
    made = [imagined(number) for number in range(600)]
    assert {each.main.kind for each in made} == {*SEEN, *UNSEEN}
    assert not {each.groups for each in made} & {each.groups for each in everything(scenes)}


def test_a_scene_comes_back_from_json(scenes):
    for each in everything(scenes)[::40]:
        assert from_json(json.loads(json.dumps(as_json(each)))) == each


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"ground": "lava"}, "no ground 'lava'"),
        ({"groups": []}, "one to three things alike"),
        ({"sky": "blue"}, "sky"),
        ({"groups": 3}, "this is no scene"),
    ],
)
def test_what_is_no_scene_is_refused(change, problem):
    with pytest.raises(ValueError, match=problem):
        from_json({**as_json(scene("test", 0)), **change})


def test_what_is_no_kind_is_refused():
    entry = as_json(scene("test", 0))
    entry["groups"][0]["kind"] = "dragon"
    with pytest.raises(ValueError, match="no kind 'dragon'"):
        from_json(entry)


def test_an_unknown_split_and_a_negative_number_are_refused():
    with pytest.raises(ValueError, match="no split 'validation'; there are training, "):
        scene("validation", 0)
    with pytest.raises(ValueError, match="picture -1 of test"):
        scene("test", -1)
