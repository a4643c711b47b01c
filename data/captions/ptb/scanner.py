"""A scanner: which of many regular expressions matches the longest piece of a text (as lex does).

Python's `re` takes the first alternative that matches; a tokeniser written for lex or JFlex takes
the longest, and the first rule of equals. The rules become one automaton, whose states are made
when a text first needs them, so that every character costs one look into a dictionary.

It does not know what a rule means.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Union

_LAST = 0x10FFFF  # the code of the last character there is
_CODED = {"x": 2, "u": 4}  # digits of a character's code after such an escape
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_Range = tuple[int, int]  # the codes of its first and last character


class Rule(NamedTuple):
    r"""What to match.

    The notation is that of regular expressions: ``( ) | ? * + {2} {2,4} [a-z] [^a-z]``, ``{name}``
    for a definition, ``\t \n \r \f \x80 \u2019``, and ``\`` before any other character, which then
    stands for itself. White space outside of brackets counts for nothing. A letter stands for both
    its cases, but not within brackets.
    """

    name: str
    body: str
    context: str | None = None  # what must follow, and counts towards the length, but is not taken


class Match(NamedTuple):
    """The longest match from some place on."""

    rule: int  # its position among the rules
    end: int  # where the text of its body ends


class Scanner:
    """Finds the longest match of some rules.

    Args:
        rules: the first of them wins where two match the same length.
        definitions: expressions by the names that rules, and later definitions, use them by.

    Raises:
        ValueError: a rule is not written as it should be, or matches the empty text.
    """

    def __init__(self, rules: Sequence[Rule], definitions: Mapping[str, str]) -> None:
        trees: dict[str, _Tree] = {}
        for name, expression in definitions.items():
            trees[name] = _Parser(expression, trees).tree()
        parts = [
            [_Parser(part, trees).tree() for part in (rule.body, rule.context) if part is not None]
            for rule in rules
        ]
        self._rules = _Automaton([_All(each) for each in parts])
        self._parts = [
            (_Automaton(each[:1]), _Automaton(each[1:])) if len(each) > 1 else None
            for each in parts
        ]
        if self._rules.start.rule is not None:
            raise ValueError(f"rule {rules[self._rules.start.rule].name!r} matches the empty text")

    def match(self, text: str, begin: int, vain: set[tuple[int, int]]) -> Match | None:
        """The longest match that begins there, of equals that of the first rule; or none.

        Args:
            text: all of it: a rule may look ahead.
            begin: the place of the match's first character.
            vain: empty at the text's first match, and handed on to the others of the same text. It
                remembers where reading ahead came to nothing, so that it is not tried again from
                every place before: a text is read in time linear in its length.

        Source:
            Reps 1998, "Maximal-munch" tokenization in linear time.
        """
        state, found, end = self._rules.start, None, begin
        prefetch: list[tuple[int, int]] = []
        for place in range(begin, len(text)):
            state = state[text[place]]
            if state.rule is not None:
                found, end = state.rule, place + 1
                prefetch.clear()
            elif not state.nodes:
                break
            else:
                here = (id(state), place)
                if here in vain:
                    break
                prefetch.append(here)
        vain.update(prefetch)
        if found is None:
            return None
        parts = self._parts[found]
        return Match(found, end if parts is None else _division(*parts, text, begin, end))


def _division(body: "_Automaton", context: "_Automaton", text: str, begin: int, end: int) -> int:
    """Where the longest body ends whose context fills the rest."""
    state, ends = body.start, []
    for place in range(begin, end):
        state = state[text[place]]
        if state.rule is not None:
            ends.append(place + 1)
    for middle in reversed(ends):
        state = context.start
        for place in range(middle, end):
            state = state[text[place]]
            if not state.nodes:
                break
        if state.rule is not None:
            return middle
    raise AssertionError("a match must divide into body and context")


class _Set:
    """Characters, as ranges of their codes."""

    def __init__(self, ranges: Sequence[_Range]) -> None:
        self.ranges = _merged(ranges)
        self._firsts = [first for first, _ in self.ranges]

    def __contains__(self, character: str) -> bool:
        code = ord(character)
        place = bisect_right(self._firsts, code) - 1
        return place >= 0 and code <= self.ranges[place][1]


class _Node:
    """A place in the rules: what leads on from it, and the rule that ends in it."""

    __slots__ = ("_reach", "empty", "next", "rule", "set")

    def __init__(self) -> None:
        self.empty: list[_Node] = []  # reached without a character
        self.set: _Set | None = None  # the characters that lead to next
        self.next: _Node | None = None
        self.rule: int | None = None
        self._reach: frozenset[_Node] | None = None

    @property
    def reach(self) -> frozenset["_Node"]:
        """All that is reached without a character and waits for one, or ends a rule."""
        if self._reach is None:
            seen, new = {self}, [self]
            while new:
                new = [node for each in new for node in each.empty if node not in seen]
                seen.update(new)
            self._reach = frozenset(node for node in seen if node.set or node.rule is not None)
        return self._reach


class _State(dict[str, "_State"]):
    """The places in the rules that a text can have led to; by character, where it leads next."""

    __slots__ = ("_automaton", "_by_kind", "nodes", "rule")

    def __init__(self, automaton: "_Automaton", nodes: frozenset[_Node]) -> None:
        self._automaton = automaton
        self._by_kind: dict[int, _State] = {}
        self.nodes = nodes
        self.rule = min((node.rule for node in nodes if node.rule is not None), default=None)

    def __missing__(self, character: str) -> "_State":
        kind = self._automaton.kind(character)
        if kind not in self._by_kind:
            self._by_kind[kind] = self._automaton.after(self.nodes, kind)
        state = self[character] = self._by_kind[kind]
        return state


class _Automaton:
    """All rules at once, each state made when a text first leads to it."""

    def __init__(self, trees: Sequence["_Tree"]) -> None:
        self._states: dict[frozenset[_Node], _State] = {}
        self._sets: dict[tuple[_Range, ...], _Set] = {}
        self._kinds: dict[frozenset[_Set], int] = {}  # of characters: those in the same sets
        self._kind_of: dict[str, int] = {}
        first = _Node()
        for number, tree in enumerate(trees):
            begin, end = self._nodes(tree)
            end.rule = number
            first.empty.append(begin)
        self._holding: list[frozenset[_Set]] = []  # the sets of each kind
        self.start = self._state(first.reach)

    def kind(self, character: str) -> int:
        """What the rules cannot tell apart is of one kind."""
        kind = self._kind_of.get(character)
        if kind is None:
            holding = frozenset(each for each in self._sets.values() if character in each)
            kind = self._kinds.setdefault(holding, len(self._kinds))
            if kind == len(self._holding):
                self._holding.append(holding)
            self._kind_of[character] = kind
        return kind

    def after(self, nodes: frozenset[_Node], kind: int) -> _State:
        holding = self._holding[kind]
        reached = [node.next.reach for node in nodes if node.next and node.set in holding]
        return self._state(frozenset().union(*reached))

    def _state(self, nodes: frozenset[_Node]) -> _State:
        if nodes not in self._states:
            self._states[nodes] = _State(self, nodes)
        return self._states[nodes]

    def _nodes(self, tree: "_Tree") -> "_Fragment":
        begin, end = _Node(), _Node()
        if isinstance(tree, _Set):
            begin.set, begin.next = self._sets.setdefault(tuple(tree.ranges), tree), end
        elif isinstance(tree, _All):
            last = begin
            for part in tree.trees:
                first, after = self._nodes(part)
                last.empty.append(first)
                last = after
            last.empty.append(end)
        elif isinstance(tree, _Any):
            for part in tree.trees:
                first, after = self._nodes(part)
                begin.empty.append(first)
                after.empty.append(end)
        else:
            last = begin
            for number in range(tree.least if tree.most is None else tree.most):
                if number >= tree.least:
                    last.empty.append(end)
                first, after = self._nodes(tree.tree)
                last.empty.append(first)
                last = after
            if tree.most is None:
                first, after = self._nodes(tree.tree)
                last.empty.append(first)
                after.empty += [first, end]
            last.empty.append(end)
        return begin, end


_Fragment = tuple[_Node, _Node]  # where it begins and ends
_Tree = Union["_Many", "_All", "_Any", _Set]


class _Many(NamedTuple):
    tree: _Tree
    least: int
    most: int | None


class _All(NamedTuple):
    trees: Sequence[_Tree]  # one after the other


class _Any(NamedTuple):
    trees: Sequence[_Tree]  # one of them


class _Parser:
    """An expression into a tree."""

    def __init__(self, expression: str, definitions: Mapping[str, _Tree]) -> None:
        self._text = expression
        self._definitions = definitions
        self._place = 0

    def tree(self) -> _Tree:
        tree = self._alternatives()
        if self._place < len(self._text):
            raise self._wrong("an unexpected character")
        return tree

    def _alternatives(self) -> _Tree:
        trees = [self._sequence()]
        while self._next() == "|":
            self._place += 1
            trees.append(self._sequence())
        return trees[0] if len(trees) == 1 else _Any(trees)

    def _sequence(self) -> _Tree:
        trees = []
        while self._next() not in ("|", ")", ""):
            trees.append(self._repeated())
        return trees[0] if len(trees) == 1 else _All(trees)

    def _repeated(self) -> _Tree:
        tree = self._single()
        while True:
            sign = self._next()
            if sign in ("?", "*", "+"):
                self._place += 1
                tree = _Many(tree, int(sign == "+"), 1 if sign == "?" else None)
            elif sign == "{" and self._text[self._place + 1].isdecimal():
                least, _, most = self._braced().partition(",")
                tree = _Many(tree, int(least), int(most or least))
            else:
                return tree

    def _single(self) -> _Tree:
        sign = self._next()
        if sign == "{":
            name = self._braced()
            if name not in self._definitions:
                raise self._wrong(f"no definition of {name!r}")
            return self._definitions[name]
        if sign in ("?", "*", "+", "}", "]"):
            raise self._wrong("an unexpected character")
        self._place += 1
        if sign == "(":
            tree = self._alternatives()
            if self._next() != ")":
                raise self._wrong("an unclosed bracket")
            self._place += 1
            return tree
        if sign == "[":
            return self._set()
        character = self._escaped() if sign == "\\" else sign
        return _Set(sorted({(ord(case),) * 2 for case in (character.lower(), character.upper())}))

    def _set(self) -> _Set:
        other = self._text[self._place : self._place + 1] == "^"
        self._place += other
        ranges = []
        while (first := self._member()) is not None:
            last = first
            if re.match("-[^]]", self._text[self._place : self._place + 2]):
                self._place += 1
                last = self._member() or first
            ranges.append((ord(first), ord(last)))
        return _Set(_complement(ranges) if other else ranges)

    def _member(self) -> str | None:
        """The next character of a set; none at its end."""
        if self._place == len(self._text):
            raise self._wrong("an unclosed bracket")
        character = self._text[self._place]
        self._place += 1
        if character == "\\":
            return self._escaped()
        return None if character == "]" else character

    def _escaped(self) -> str:
        sign = self._text[self._place]
        self._place += 1
        if sign in _CODED:
            begin, self._place = self._place, self._place + _CODED[sign]
            return chr(int(self._text[begin : self._place], 16))
        return _CONTROLS.get(sign, sign)

    def _braced(self) -> str:
        end = self._text.find("}", self._place)
        if end < 0:
            raise self._wrong("an unclosed bracket")
        inside, self._place = self._text[self._place + 1 : end], end + 1
        return inside

    def _next(self) -> str:
        """The next sign; the empty string at the end."""
        while self._place < len(self._text) and self._text[self._place] in " \n":
            self._place += 1
        return self._text[self._place : self._place + 1]

    def _wrong(self, problem: str) -> ValueError:
        return ValueError(f"{problem} at {self._place} of {self._text!r}")


def _merged(ranges: Sequence[_Range]) -> list[_Range]:
    merged: list[_Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _complement(ranges: Sequence[_Range]) -> list[_Range]:
    edges = [0] + [edge for first, last in _merged(ranges) for edge in (first, last + 1)]
    return list(zip(edges[::2], [edge - 1 for edge in edges[1::2]] + [_LAST], strict=True))
