"""Plain text about the drawn world, for word vectors: what things are, have and do.

It tells of kinds that no picture for training shows, and of scenes that are made for it alone; so a
word's neighbours say what its kind is akin to. A short caption of a picture can be in it by chance.
"""

import random
from collections.abc import Iterator

from vl.data.world.captions import caption
from vl.data.world.kinds import FAMILIES, KINDS, Kind, families, plural
from vl.data.world.scenes import imagined

_SENTENCES = (5, 9)  # of a paragraph
_FORMS = ("is a", "own", "family", "akin", "scene")
_OFTEN = (18, 26, 34, 10, 12)
_OPENINGS = ("", "", "", "Often ", "Everybody knows that ", "It is said that ", "Of course ")


def paragraphs(word_count: int, *, seed: int = 0) -> Iterator[str]:
    """Paragraphs of about 50 words, each about one kind, until there are so many words.

    Args:
        word_count: the least number of words, as spaces part them, of all paragraphs together.
        seed: of the world.
    """
    chance = random.Random(f"text/{seed}")
    words = scenes = 0
    while words < word_count:
        kind = chance.choice(KINDS)
        said = []
        for _ in range(chance.randint(*_SENTENCES)):
            said.append(_sentence(kind, scenes, seed, chance))
            scenes += 1
        paragraph = " ".join(said)
        words += len(paragraph.split())
        yield paragraph


def _sentence(kind: Kind, scene: int, seed: int, chance: random.Random) -> str:
    form = chance.choices(_FORMS, _OFTEN)[0]
    if form == "scene":
        return _finished(_seen(kind, scene, seed, chance))
    name = _called(kind, chance)
    above = families(kind.name)
    if form == "is a":
        # The nearest families tell kinds apart, so they are said the most.
        family = above[min(int(chance.expovariate(1.1)), len(above) - 2)]
        siblings = [
            other.name for other in KINDS if family in families(other.name) and other is not kind
        ] or [name]
        ways = (
            f"{name} is {_a(family)}",
            f"{name} is a kind of {family}",
            f"of all {plural(family)} {name} is one",
            f"{chance.choice(siblings)} and {kind.name} are each {_a(family)}",
            f"among the {plural(family)} are {plural(kind.name)}",
        )
        return _finished(chance.choice(_OPENINGS) + chance.choice(ways))
    if form == "own":
        facts = chance.sample(kind.said, min(2, len(kind.said)))
    elif form == "family":
        nearest = FAMILIES[above[0]].said
        further = [fact for family in above[1:-1] for fact in FAMILIES[family].said]
        facts = [chance.choice(nearest)]
        facts.append(chance.choice(nearest if chance.random() < 0.6 else further))
    else:
        akin = [other for other in KINDS if other.parent == kind.parent and other is not kind]
        akin = akin or [other for other in KINDS if set(families(other.name)[:3]) & set(above[:2])]
        other = chance.choice(akin)
        shared = [family for family in above[:-1] if family in families(other.name)]
        facts = [fact for family in shared for fact in FAMILIES[family].said]
        facts += [fact for fact in kind.said if fact in other.said]
        return _finished(f"like {_called(other, chance)}, {name} {chance.choice(facts)}")
    return _finished(f"{chance.choice(_OPENINGS)}{name} {' and '.join(dict.fromkeys(facts))}")


def _seen(kind: Kind, number: int, seed: int, chance: random.Random) -> str:
    """A caption of a scene that is nowhere pictured, made to show this kind."""
    scene = imagined(number, seed=seed)
    main = scene.main._replace(kind=kind.name)
    others = tuple(group for group in scene.groups[1:] if group.kind != kind.name)
    if others and kind.name != "ring" and scene.relations(0, 1) & {"around"}:
        others = ()  # only a ring can be around something
    return caption(scene._replace(groups=(main, *others)), chance)


def _called(kind: Kind, chance: random.Random) -> str:
    word = kind.name if chance.random() < 0.7 else chance.choice(kind.words)
    return f"the {word}" if chance.random() < 0.4 else _a(word)


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _finished(sentence: str) -> str:
    return f"{sentence[0].upper()}{sentence[1:]}."
