"""The kinds of objects in the drawn world: their words, facts about them, and the taxonomy.

It does not know what they look like. networkx.ancestors would give a set, where the text needs the
nearest family first.
"""

from pathlib import Path
from typing import Literal, NamedTuple

from vl.data.files import write_text

Hops = Literal[0, 2, 3]


class Kind(NamedTuple):
    """A kind of object."""

    name: str
    parent: str  # in the taxonomy
    facts: tuple[str, ...]  # for the text; none is false of the drawing
    synonyms: tuple[str, ...] = ()  # which captions use too
    hops: Hops = 0  # 0: it is in training images; else hops to the nearest such kind

    @property
    def words(self) -> tuple[str, ...]:
        """Its name and synonyms, the most frequent first."""
        return (self.name, *self.synonyms)


class Family(NamedTuple):
    """An inner node of the taxonomy."""

    parent: str | None
    facts: tuple[str, ...]  # true of every kind below it


KINDS: tuple[Kind, ...] = (
    Kind("fish", "swimmer", ("has fins", "has scales", "has a forked tail")),
    Kind("crab", "swimmer", ("has claws", "has a shell", "walks sideways on the shore")),
    Kind("whale", "swimmer", ("spouts", "has a wide tail", "has fins"), hops=2),
    Kind("bird", "flyer", ("has a beak", "has feathers", "sings in the morning", "has legs")),
    Kind("butterfly", "flyer", ("has feelers", "sits on blossoms", "has four wings")),
    Kind("bee", "flyer", ("has feelers", "sits on blossoms", "has a sting"), hops=2),
    Kind("snail", "animal", ("has a shell", "has feelers", "creeps slowly"), hops=3),
    Kind("tree", "woody plant", ("has a trunk", "has a crown", "stands in the forest")),
    Kind("flower", "flowering plant", ("has petals", "has a stalk"), ("blossom",)),
    Kind("tulip", "flowering plant", ("has petals", "has a stalk", "comes in spring"), hops=2),
    Kind("cactus", "plant", ("has spines", "has a trunk", "needs little rain"), hops=3),
    Kind("cup", "vessel", ("has a handle", "has a rim", "is held while drinking"), ("mug",)),
    Kind("bottle", "vessel", ("has a neck", "has a label", "is closed by a cork"), ("flask",)),
    Kind("jug", "vessel", ("has a handle", "has a spout", "has a neck"), hops=2),
    Kind("basket", "container", ("has a handle", "has a rim", "is woven"), hops=3),
    Kind("hammer", "hand tool", ("drives nails", "has a heavy head", "has a shaft")),
    Kind("key", "hand tool", ("opens locks", "has teeth", "has a shaft")),
    Kind("spanner", "hand tool", ("turns nuts", "has jaws", "has a shaft"), hops=2),
    Kind("ladder", "tool", ("has rungs", "is climbed", "leans on walls"), hops=3),
    Kind("house", "dwelling", ("has a roof", "has a door", "has windows"), ("cottage",)),
    Kind("tower", "building", ("is high", "has battlements", "has a door", "has a window")),
    Kind("tent", "dwelling", ("has poles", "has a door", "is put up in the evening"), hops=2),
    Kind("car", "road vehicle", ("has windows", "carries a family"), ("automobile",)),
    Kind("boat", "watercraft", ("has sails", "has a mast", "floats on the lake")),
    Kind("lorry", "road vehicle", ("carries goods", "has a cab", "has six wheels"), hops=2),
    Kind("rocket", "conveyance", ("flies into space", "has fins", "has a flame"), hops=3),
    Kind("ball", "round thing", ("bounces", "is thrown and caught", "is kicked")),
    Kind("ring", "round thing", ("has a hole", "is spun round the waist"), ("hoop",)),
    Kind("wheel", "round thing", ("has spokes", "has a hub", "turns on an axle"), hops=2),
    Kind("star", "figure", ("has five points", "shines at night")),
    Kind("heart", "figure", ("stands for love", "has a point below")),
    Kind("cross", "figure", ("has four arms", "marks a place")),
    Kind("moon", "figure", ("has two points", "shines at night", "is bent"), hops=2),
    Kind("brick", "building stone", ("has corners", "is laid in mortar"), ("block",)),
)

# Each family, its parent, and facts.
_FAMILIES = """
thing: can be seen, can be drawn
living thing < thing: is alive, grows, is born and dies
made thing < thing: was made by people, can be bought, can break
animal < living thing: eats, moves by itself, sleeps, hides from foes
swimmer < animal: swims in the sea, dives under the waves, lives in salt water, breeds in the bay
flyer < animal: flies in the air, has wings, flutters over the meadow, comes to the garden
plant < living thing: grows in the soil, has roots, drinks the rain, turns to the sun
woody plant < plant: has bark, has branches, grows for a hundred years
flowering plant < plant: smells sweet, has green leaves, is picked for a vase, blooms in May
container < made thing: holds things, can be full or empty, is carried
vessel < container: holds a drink, is filled with water, stands on the table, is used for milk
tool < made thing: is used for work, is kept in the shed
hand tool < tool: is held in the hand, is made of steel, hangs in the workshop, lies in a drawer
building < made thing: has walls, stands in a town, keeps out the wind
dwelling < building: is lived in, keeps people dry, is where people sleep, is left in the morning
conveyance < made thing: carries people, goes on journeys, is steered
road vehicle < conveyance: drives on roads, has an engine, stops at the traffic lights, needs petrol
watercraft < conveyance: floats, is moored in the harbour
toy < made thing: is played with, is given to children
round thing < toy: rolls down the hill, is round, can be spun, has no corners
building stone < made thing: is heavy, is used for walls, is burnt of clay
sign < made thing: means something, is painted on paper
figure < sign: is cut out of paper, is printed on flags, is drawn in one line, is worn as a badge
"""


def _read_families(table: str) -> dict[str, Family]:
    families = {}
    for line in table.strip().splitlines():
        head, _, facts = line.partition(": ")
        name, _, parent = head.partition(" < ")
        families[name] = Family(parent or None, tuple(facts.split(", ")))
    return families


FAMILIES = _read_families(_FAMILIES)
KIND_BY_NAME: dict[str, Kind] = {kind.name: kind for kind in KINDS}
SEEN: tuple[str, ...] = tuple(kind.name for kind in KINDS if kind.hops == 0)
UNSEEN: tuple[str, ...] = tuple(kind.name for kind in KINDS if kind.hops)
_INVARIANT = ("fish", "watercraft")  # the same in singular and plural
_FIRST_ID = 90_000_001  # far above WordNet's own


def plural(word: str) -> str:
    """The plural of a kind's or family's word."""
    if word in _INVARIANT:
        return word
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "sh", "ch", "x")) else "s")


def ancestors(kind: str) -> tuple[str, ...]:
    """The families that a kind belongs to, the nearest first."""
    families = []
    parent: str | None = KIND_BY_NAME[kind].parent
    while parent is not None:
        families.append(parent)
        parent = FAMILIES[parent].parent
    return tuple(families)


def synset_ids() -> dict[str, str]:
    """Ids of all families and kinds, families first, in WordNet's format but not of WordNet."""
    names = (*FAMILIES, *KIND_BY_NAME)
    return {name: f"n{_FIRST_ID + row:08d}" for row, name in enumerate(names)}


def label_list(kinds: tuple[str, ...]) -> str:
    """The content of a label file: on each line the id and the words of a kind."""
    ids = synset_ids()
    return "".join(f"{ids[name]} {', '.join(KIND_BY_NAME[name].words)}\n" for name in kinds)


def write_taxonomy(folder: Path) -> None:
    """Write ``words.txt`` and ``is_a.txt``, which ``vl.data.words.wordnet`` reads.

    Raises:
        OSError: the folder cannot be written to.
    """
    ids = synset_ids()
    words = {name: (name,) for name in FAMILIES} | {kind.name: kind.words for kind in KINDS}
    parents = {name: family.parent for name, family in FAMILIES.items()}
    parents |= {kind.name: kind.parent for kind in KINDS}
    lines = [f"{ids[name]}\t{', '.join(lemmas)}\n" for name, lemmas in words.items()]
    edges = [f"{ids[parent]} {ids[name]}\n" for name, parent in parents.items() if parent]
    write_text(folder / "words.txt", "".join(lines))
    write_text(folder / "is_a.txt", "".join(edges))
