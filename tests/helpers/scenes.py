"""Drawn scenes whose objects are placed by hand."""

from vl.data.world.scenes import Group, Placement, Scene


def group(kind, color, *, at, size="big", texture="plain"):
    """Equal objects, neither turned nor mirrored.

    Their centers ``at`` are (x, y), in sides of the image.
    """
    radius = {"big": 0.25, "small": 0.15}[size]
    places = tuple(Placement(x, y, radius, 0.0, False) for x, y in at)
    return Group(kind, color, texture, size, places)


BIG_KEY = group("key", "black", at=[(0.7, 0.5)])
SMALL_BALL = group("ball", "red", at=[(0.2, 0.5)], size="small", texture="striped")
PAIR = Scene("test", 0, 0, (BIG_KEY, SMALL_BALL), "sand")
BALL = Scene("held-out-kinds", 1, 0, (SMALL_BALL,), "sand")
CUPS = Scene("test", 1, 0, (group("cup", "blue", at=[(0.2, 0.2), (0.8, 0.8)]),), "grass")
FISH = Scene("test", 2, 0, (group("fish", "red", at=[(0.5, 0.5)]),), "water")
