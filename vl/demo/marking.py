"""Mark the true and the false words of a caption of the drawn world."""

from collections.abc import Iterable

from vl.data.captions.ptb.tokens import words as tokenize
from vl.data.world.scenes import Scene
from vl.demo.caption_parser import ParseError, parse
from vl.demo.truth import check_caption


def mark_caption(caption: str, scene: Scene) -> list[tuple[str, bool | None]]:
    """Split a caption into true, false and neutral pieces.

    Joined by spaces, the pieces are the caption. A noun without a count word asserts the count as
    well: for two balls, "a" in "a red ball" is false, and so is "ball" in "the ball is red". A
    caption that cannot be parsed is one neutral piece.
    """
    try:
        phrases = parse(caption).phrases
    except ParseError:
        return [(caption, None)]
    pieces = [(piece, len(tokenize(piece))) for piece in caption.split(" ")]
    # Rarely, a piece alone is tokenized differently than within the caption.
    if [token for piece, _ in pieces for token in tokenize(piece)] != tokenize(caption):
        return [(caption, None)]
    facts = _facts(caption, scene)
    truth_of = [
        _all_true(facts.get((attribute, phrase.mention)) for attribute in phrase.attributes)
        for phrase in phrases
    ]
    phrase_of = [index for index, phrase in enumerate(phrases) for _ in range(phrase.length)]
    marked: list[tuple[str, bool | None]] = []
    start, previous = 0, None
    for piece, count in pieces:
        indices = set(phrase_of[start : start + count])
        truth = _all_true(truth_of[index] for index in indices)
        if len(indices) == 1 and indices == previous:
            marked[-1] = (f"{marked[-1][0]} {piece}", truth)
        else:
            marked.append((piece, truth))
        start, previous = start + count, indices
    return marked


def _facts(caption: str, scene: Scene) -> dict[tuple[str, int | None], bool]:
    """Truth of each asserted attribute, by the mention."""
    facts: dict[tuple[str, int | None], bool] = {}
    mention = -1
    for assertion in check_caption(caption, scene).assertions:
        mention += assertion.attribute == "kind"  # every mention has one, and it comes first
        of_scene = assertion.attribute in ("relation", "ground")
        facts[assertion.attribute, None if of_scene else mention] = assertion.true
    return facts


def _all_true(truths: Iterable[bool | None]) -> bool | None:
    """Whether all assertions are true; None without an assertion."""
    assertions = [truth for truth in truths if truth is not None]
    return all(assertions) if assertions else None
