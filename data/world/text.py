"""Plain text about the drawn world, to train word vectors on: what its kinds are, have and do.

It describes kinds that no training image shows, and scenes sampled for it alone; so a word's
neighbors tell its relatives. By chance it can contain a short caption of an image.
"""

import random
from collections.abc import Iterator
from dataclasses import replace

from vl.data.world.captions import sample_caption
from vl.data.world.kinds import FAMILIES, KINDS, Kind, ancestors, plural
from vl.data.world.scenes import sample_text_scene

_NUM_SENTENCES = (5, 9)  # of a paragraph
_FORMS = ("is a", "own", "family", "akin", "scene")
_FORM_WEIGHTS = (18, 26, 34, 10, 12)
_OPENINGS = ("", "", "", "Often ", "Everybody knows that ", "It is said that ", "Of course ")


def paragraphs(num_words: int, *, seed: int = 0) -> Iterator[str]:
    """Paragraphs of about 50 words, each about one kind.

    Args:
        num_words: least number of words of all paragraphs together, split at spaces.
        seed: of the world.
    """
    rng = random.Random(f"text/{seed}")
    count = scene_index = 0
    while count < num_words:
        kind = rng.choice(KINDS)
        sentences = []
        for _ in range(rng.randint(*_NUM_SENTENCES)):
            sentences.append(_sentence(kind, scene_index, seed, rng))
            scene_index += 1
        paragraph = " ".join(sentences)
        count += len(paragraph.split())
        yield paragraph


def _sentence(kind: Kind, scene_index: int, seed: int, rng: random.Random) -> str:
    form = rng.choices(_FORMS, _FORM_WEIGHTS)[0]
    if form == "scene":
        return _capitalize(_caption(kind, scene_index, seed, rng))
    name = _reference(kind, rng)
    above = ancestors(kind.name)
    if form == "is a":
        # The nearest families tell kinds apart, so they are the most frequent.
        family = above[min(int(rng.expovariate(1.1)), len(above) - 2)]
        siblings = [k.name for k in KINDS if family in ancestors(k.name) and k is not kind]
        phrasings = (
            f"{name} is {_with_article(family)}",
            f"{name} is a kind of {family}",
            f"of all {plural(family)} {name} is one",
            f"{rng.choice(siblings or [name])} and {kind.name} are each {_with_article(family)}",
            f"among the {plural(family)} are {plural(kind.name)}",
        )
        return _capitalize(rng.choice(_OPENINGS) + rng.choice(phrasings))
    if form == "own":
        facts = rng.sample(kind.facts, min(2, len(kind.facts)))
    elif form == "family":
        nearest = FAMILIES[above[0]].facts
        further = [fact for family in above[1:-1] for fact in FAMILIES[family].facts]
        facts = [rng.choice(nearest)]
        facts.append(rng.choice(nearest if rng.random() < 0.6 else further))
    else:
        relatives = [k for k in KINDS if k.parent == kind.parent and k is not kind]
        relatives = relatives or [k for k in KINDS if set(ancestors(k.name)[:3]) & set(above[:2])]
        relative = rng.choice(relatives)
        shared = [family for family in above[:-1] if family in ancestors(relative.name)]
        facts = [fact for family in shared for fact in FAMILIES[family].facts]
        facts += [fact for fact in kind.facts if fact in relative.facts]
        return _capitalize(f"like {_reference(relative, rng)}, {name} {rng.choice(facts)}")
    return _capitalize(f"{rng.choice(_OPENINGS)}{name} {' and '.join(dict.fromkeys(facts))}")


def _caption(kind: Kind, scene_index: int, seed: int, rng: random.Random) -> str:
    """A caption of a scene that no image shows, with this kind as its main object."""
    scene = sample_text_scene(scene_index, seed=seed)
    main = replace(scene.main, kind=kind.name)
    rest = tuple(group for group in scene.groups[1:] if group.kind != kind.name)
    if rest and kind.name != "ring" and "around" in scene.relations(0, 1):
        rest = ()  # only a ring can be around something
    return sample_caption(replace(scene, groups=(main, *rest)), rng)


def _reference(kind: Kind, rng: random.Random) -> str:
    word = kind.name if rng.random() < 0.7 else rng.choice(kind.words)
    return f"the {word}" if rng.random() < 0.4 else _with_article(word)


def _with_article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _capitalize(sentence: str) -> str:
    return f"{sentence[0].upper()}{sentence[1:]}."
