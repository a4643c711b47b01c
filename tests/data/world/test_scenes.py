"""Scenes of the drawn world: determined by the seed, disjoint splits, consistent relations."""

import json
import math
from collections import Counter

import pytest

from vl.data.world.kinds import SEEN, UNSEEN
from vl.data.world.scenes import (
    COLORS,
    GROUNDS,
    INVERSE_RELATION,
    SIZES,
    SPLITS,
    TEXTURES,
    Group,
    Placement,
    Scene,
    is_held_out,
    sample_scene,
    sample_text_scene,
    scene_from_json,
    scene_to_json,
)


@pytest.fixture(scope="module")
def scenes():
    return {split: [sample_scene(split, index) for index in range(800)] for split in SPLITS}


@pytest.fixture(scope="module")
def all_scenes(scenes):
    return [scene for split in scenes.values() for scene in split]


@pytest.fixture(scope="module")
def pairs(all_scenes):
    return [scene for scene in all_scenes if len(scene.groups) == 2]


def test_scene_is_determined_by_seed_split_and_index():
    first = sample_scene("test", 3)
    assert first == sample_scene("test", 3, seed=0)
    for split, index, seed in (("test", 3, 1), ("test", 4, 0), ("development", 3, 0)):
        assert sample_scene(split, index, seed=seed).groups != first.groups


def test_scenes_do_not_change_between_versions():
    # If this fails, results on older worlds are no longer comparable, and the version in
    # vl.data.world.files must go up. The values are our own output.
    main = sample_scene("training", 0).main
    assert (main.kind, main.color, main.count) == ("star", "white", 2)
    assert sample_scene("held-out-kinds", 0).main.kind == "wheel"


def test_no_two_scenes_are_the_same(all_scenes):
    assert len({scene.groups for scene in all_scenes}) == len(all_scenes)


def test_held_out_combinations_are_one_color_a_kind_and_every_color():
    held_out = [(kind, color) for kind in SEEN for color in COLORS if is_held_out(kind, color)]
    assert sorted(kind for kind, _ in held_out) == sorted(SEEN)
    counts = Counter(color for _, color in held_out)
    assert set(counts) == set(COLORS)
    assert max(counts.values()) <= 3
    assert not any(is_held_out(kind, color) for kind in UNSEEN for color in COLORS)


@pytest.mark.parametrize("split", ["training", "development", "test"])
def test_ordinary_splits_have_every_kind_and_color_but_no_held_out_combination(split, scenes):
    groups = [group for scene in scenes[split] for group in scene.groups]
    assert {group.kind for group in groups} == set(SEEN)
    assert {group.color for group in groups} == set(COLORS)
    assert not any(is_held_out(group.kind, group.color) for group in groups)


def test_only_main_objects_of_the_held_out_splits_are_held_out(scenes):
    for scene in scenes["held-out-combinations"]:
        assert is_held_out(scene.main.kind, scene.main.color)
    assert {scene.main.kind for scene in scenes["held-out-kinds"]} == set(UNSEEN)
    for split in ("held-out-combinations", "held-out-kinds"):
        for scene in scenes[split]:
            for group in scene.groups[1:]:
                assert group.kind in SEEN
                assert not is_held_out(group.kind, group.color)


def test_kinds_and_colors_are_about_equally_frequent(scenes):
    main = [scene.main for scene in scenes["training"]]
    for counts in (Counter(group.kind for group in main), Counter(group.color for group in main)):
        expected = len(main) / len(counts)
        assert all(0.5 * expected < count < 1.6 * expected for count in counts.values())


def test_every_attribute_and_relation_occurs(scenes, pairs):
    for split in SPLITS:
        groups = [group for scene in scenes[split] for group in scene.groups]
        assert {group.texture for group in groups} == set(TEXTURES)
        assert {group.size for group in groups} == set(SIZES)
        assert {group.count for group in groups} == {1, 2, 3}
        assert {scene.ground for scene in scenes[split]} == set(GROUNDS)
    relations = {r for scene in pairs for r in scene.relations(0, 1) | scene.relations(1, 0)}
    assert relations == set(INVERSE_RELATION)


def test_objects_are_within_the_image_and_sizes_do_not_overlap(all_scenes):
    radii = {size: [] for size in SIZES}
    for scene in all_scenes:
        for group in scene.groups:
            for p in group.placements:
                radii[group.size].append(p.radius)
                assert p.radius <= min(p.x, p.y, 1 - p.x, 1 - p.y)
    assert 1.3 * max(radii["small"]) < min(radii["big"])


def test_objects_do_not_hide_each_other(all_scenes):
    for scene in all_scenes:
        placements = [p for group in scene.groups for p in group.placements]
        for i, a in enumerate(placements):
            for b in placements[:i]:
                distance = math.hypot(a.x - b.x, a.y - b.y)
                if distance > 0:
                    assert distance >= 0.92 * (a.radius + b.radius)
                else:  # in a ring's hole, corners included
                    assert scene.main.kind == "ring"
                    inner, outer = sorted((a.radius, b.radius))
                    assert inner * math.sqrt(2) < 0.66 * outer


def test_of_two_objects_the_main_one_is_bigger_and_of_another_kind(pairs):
    for scene in pairs:
        assert scene.groups[0].kind != scene.groups[1].kind
        assert [group.size for group in scene.groups] == ["big", "small"]
        assert [group.count for group in scene.groups] == [1, 1]


def test_two_objects_have_one_spatial_relation_and_its_inverse(pairs):
    for scene in pairs:
        relations = scene.relations(0, 1)
        assert len(relations - {"bigger than"}) == 1
        assert "bigger than" in relations
        assert {INVERSE_RELATION[relation] for relation in relations} == scene.relations(1, 0)
        assert scene.relations(0, 0) == frozenset()


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (0.1, 0.5, {"left of"}),
        (0.9, 0.6, {"right of"}),
        (0.5, 0.1, {"above"}),
        (0.6, 0.9, {"below"}),
        (0.52, 0.5, {"inside"}),
        (0.1, 0.1, set()),  # neither axis dominates
    ],
)
def test_relations_follow_from_the_placements(x, y, expected):
    ball = Group("ball", "red", "plain", "small", (Placement(x, y, 0.15, 0, False),))
    key = Group("key", "black", "plain", "big", (Placement(0.5, 0.5, 0.25, 0, False),))
    scene = Scene("test", 0, 0, (key, ball), "sand")
    assert scene.relations(1, 0) == expected | {"smaller than"}


def test_scenes_for_text_are_in_no_split_and_of_all_kinds(all_scenes):
    text_scenes = [sample_text_scene(index) for index in range(600)]
    assert {scene.main.kind for scene in text_scenes} == {*SEEN, *UNSEEN}
    assert not {scene.groups for scene in text_scenes} & {scene.groups for scene in all_scenes}


def test_json_round_trip(all_scenes):
    for scene in all_scenes[::40]:
        assert scene_from_json(json.loads(json.dumps(scene_to_json(scene)))) == scene


BALL = {"kind": "ball", "color": "red", "texture": "plain", "size": "small", "placements": []}


@pytest.mark.parametrize(
    ("change", "key_word"),
    [
        ({"ground": "lava"}, "lava"),
        ({"groups": []}, "one group"),
        ({"sky": "blue"}, "sky"),
        ({"groups": 3}, "not a scene"),
        ({"groups": [{"kind": "ball"}]}, "placements"),
        ({"groups": [{**BALL, "kind": "dragon"}]}, "dragon"),
    ],
)
def test_refuses_other_json(change, key_word):
    with pytest.raises(ValueError, match=key_word):
        scene_from_json({**scene_to_json(sample_scene("test", 0)), **change})
