"""The page: true and false words found, everything escaped and embedded, plots of what is given."""

import ast
import base64
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

import vl.demo.plots
import vl.demo.report
from vl.data.errors import FormatError
from vl.data.words.vectors import WordVectors
from vl.data.world.captions import captions
from vl.data.world.drawing import draw, encoded
from vl.data.world.kinds import KINDS, OF, families, plural
from vl.data.world.scenes import COLOURS, GROUNDS, SPLITS, Group, Place, Scene, scene
from vl.demo.plots import curves, map_of_kinds, principal, read_log
from vl.demo.report import Figures, Label, Report, Shown, Stage, Trained, described, marked, write
from vl.demo.truth import judge

SILENT = set("on the is are that which and there has have lie stand sit of can see we you".split())  # noqa: SIM905
SILENT |= {f"{verb}{ending}" for verb in ("lie", "stand", "sit") for ending in ("s", "ing")}
SILENT |= {"lying", "sitting", "this", "these", "a", "picture", "drawing", "shows"}
# What makes a word's assertion false, whatever the scene: the opposite, or what is never both.
OPPOSITES = MappingProxyType(
    {
        "small": "big",
        "little": "large",
        "big": "small",
        "large": "little",
        "plain": "spotted",
        "striped": "dotted",
        "spotted": "striped",
        "dotted": "plain",
        "stripes": "dots",
        "spots": "stripes",
        "dots": "stripes",
        "two": "three",
        "three": "two",
        "left": "right",
        "right": "left",
        "above": "below",
        "over": "under",
        "below": "over",
        "under": "over",
        "beneath": "above",
        "inside": "around",
        "in": "around",
        "around": "inside",
        "bigger": "smaller",
        "larger": "smaller",
        "smaller": "bigger",
    }
)
NOUNS = {form: kind for kind in KINDS for word in kind.words for form in (word, plural(word))}


def group(kind, colour, *, at, size="big", texture="plain"):
    radius = {"big": 0.25, "small": 0.15}[size]
    places = tuple(Place(x, y, radius, 0.0, False) for x, y in at)
    return Group(kind, colour, texture, size, places)


BIG_KEY = group("key", "black", at=[(0.7, 0.5)])
SMALL_BALL = group("ball", "red", at=[(0.2, 0.5)], size="small", texture="striped")
PAIR = Scene("test", 0, 0, (BIG_KEY, SMALL_BALL), "sand")
BALL = Scene("held-out-kinds", 1, 0, (SMALL_BALL,), "sand")
CUPS = Scene("test", 1, 0, (group("cup", "blue", at=[(0.2, 0.2), (0.8, 0.8)]),), "grass")
FISH = Scene("test", 2, 0, (group("fish", "red", at=[(0.5, 0.5)]),), "water")


@pytest.fixture(scope="module")
def said():
    """Every caption of many scenes."""
    scenes = [scene(split, number) for split in SPLITS for number in range(40)]
    return [(text, each) for each in scenes for text in captions(each)]


def as_text(caption, of):
    """The marks as text: +true+ and -false-."""
    sign = {True: "+", False: "-", None: ""}
    return " ".join(f"{sign[true]}{text}{sign[true]}" for text, true in marked(caption, of))


def test_all_that_the_grammar_says_is_marked_true_and_the_rest_not_at_all(said):
    for text, each in said:
        pieces = marked(text, each)
        assert " ".join(piece for piece, _ in pieces) == text
        assert False not in [true for _, true in pieces], (text, pieces)
        for piece, true in pieces:
            if true is None:
                assert set(piece.split()) <= SILENT, (text, pieces)
            else:
                assert piece not in SILENT - {"a"}, (text, pieces)
        facts = judge(text, each).assertions
        bare = sum(true is True for _, true in pieces)
        # A noun alone asserts its kind and, but for "the fish", how many there are.
        assert len(facts) - len(each.groups) <= bare <= len(facts)


def faults(caption, of):
    """Every way to make one fact false by one word: the words, and the place of the wrong one."""
    said = caption.split()
    both = sum(word in NOUNS for word in said) == len(of.groups)
    there = {each.kind for each in of.groups}
    for place, word in enumerate(said):
        other = OPPOSITES.get(word)
        if word in COLOURS:
            other = COLOURS[(COLOURS.index(word) + 1 + place) % len(COLOURS)]
            other = COLOURS[0] if other == word else other
            other = COLOURS[1] if other == word else other
        elif word in GROUNDS:
            other = GROUNDS[(GROUNDS.index(word) + 1) % len(GROUNDS)]
        # One thing of two may be held against the other one, if its own kind is not named.
        elif word in NOUNS and both:
            kind = KINDS[(KINDS.index(NOUNS[word]) + 1 + place) % len(KINDS)]
            many = word not in NOUNS[word].words
            other = plural(kind.name) if many else kind.name
            if kind.name in there or "fish" in (word, other):
                continue
        if other is not None:
            yield [*said[:place], other, *said[place + 1 :]], place


def test_of_one_wrong_word_exactly_its_fact_is_marked_false(said):
    kinds_of_faults = set()
    for text, each in said:
        for wrong, place in faults(text, each):
            pieces = marked(" ".join(wrong), each)
            begin = 0
            for piece, true in pieces:
                end = begin + len(piece.split())
                assert (true is False) == (begin <= place < end), (text, wrong, pieces)
                begin = end
            assert begin == len(wrong)
            kinds_of_faults.add(wrong[place])
    assert len(kinds_of_faults) > 60


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        (
            "a red ball left of a red key on sand",
            "+a+ +red+ +ball+ +left of+ +a+ -red- +key+ on +sand+",
        ),
        ("left of a red key lies a red ball", "+left of+ +a+ -red- +key+ lies +a+ +red+ +ball+"),
        (
            "a red key has a red ball to its left",
            "+a+ -red- +key+ has +a+ +red+ +ball+ +to its left+",
        ),
        ("a black ball and a black key", "+a+ -black- +ball+ and +a+ +black+ +key+"),
        (
            "a ball that is black and a key that is black",
            "+a+ +ball+ that is -black- and +a+ +key+ that is +black+",
        ),
        (
            "a ball with stripes right of a key with dots",
            "+a+ +ball+ +with stripes+ -right of- +a+ +key+ -with dots-",
        ),
        ("a black ball and a red ball", "+a+ +black+ -ball- and +a+ +red+ +ball+"),
        ("the key on the grass is big and red", "the +key+ on the -grass- is +big+ and -red-"),
    ],
)
def test_each_thing_has_its_own_marks(caption, expected):
    assert as_text(caption, PAIR) == expected


def test_a_thing_too_many_is_false_throughout():
    assert as_text("a ball above a red key", BALL) == "+a+ +ball+ -above- -a- -red- -key-"
    # Most of what is said is true of the ball if the key is the one too many.
    assert as_text("a red key above a ball", BALL) == "-a- -red- -key- -above- +a+ +ball+"


def test_who_says_how_many_is_marked():
    assert as_text("a blue cup", CUPS) == "-a- +blue+ +cup+"
    assert as_text("two blue cups", CUPS) == "+two+ +blue+ +cups+"
    assert as_text("blue mugs", CUPS) == "+blue+ +mugs+"
    assert as_text("the mug is blue", CUPS) == "the -mug- is +blue+"
    assert as_text("the three mugs are red", CUPS) == "the -three- +mugs+ are -red-"
    assert as_text("red balls", BALL) == "+red+ -balls-"
    assert as_text("the fish are red", FISH) == "the -fish- are +red+"
    assert as_text("the fish on water", FISH) == "the +fish+ on +water+"


def test_letters_and_stops_and_spaces_stay_as_they_are():
    text = " A  RED Key,\ton sand. "
    pieces = marked(text, PAIR)
    assert " ".join(piece for piece, _ in pieces) == text
    assert ("RED", False) in pieces
    assert ("A", True) in pieces
    assert [true for piece, true in pieces if not piece] == [None, None, None]
    # Two words in one piece: what is false wins.
    assert marked("red\tkey\tis on sand", PAIR) == [("red\tkey\tis on sand", None)]
    assert marked("a red\tkey", PAIR) == [("a", True), ("red\tkey", False)]
    assert marked("to the left\tof a key there is a ball", PAIR)[0] == ("to the left\tof", True)


@pytest.mark.parametrize(
    "caption", ["", "  ", "a red a ball", "a dog", "a red ball on on the sand"]
)
def test_of_what_is_not_understood_nothing_is_marked(caption):
    assert marked(caption, PAIR) == [(caption, None)]


def test_a_scene_is_described_by_what_is_true_of_it(said):
    assert described(PAIR) == (
        "There is a big black key right of a small striped red ball, on sand"
    )
    assert described(CUPS) == "There are two big blue cups, on grass"
    for _, each in said:
        judged = judge(described(each).replace(",", ""), each)
        assert judged.all_true, (described(each), judged)
        assert judged.found == {**judged.there, "texture": judged.found["texture"]}
        assert judged.found["texture"] == judged.there["texture"]


# The page


def vectors(count=34, width=8):
    chance = np.random.default_rng(count)
    middle = {each: chance.standard_normal(width) for kind in KINDS for each in families(kind.name)}
    rows = [middle[families(kind.name)[-3]] + 0.4 * chance.standard_normal(width) for kind in KINDS]
    matrix = np.array(rows[:count], np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return WordVectors([kind.words[-1] for kind in KINDS[:count]], matrix)


FEW = vectors(2)  # too few for a map, which takes time
LOG = [
    {"step": 20, "epoch": 0.5, "loss": 2.5, "rate": 0.1, "gradient_norm": 1.0, "seconds": 0.1},
    {"step": 40, "epoch": 1.0, "loss": 1.5, "rate": 0.1, "gradient_norm": 1.0, "seconds": 0.2},
    {
        "step": 40,
        "judged": 1,
        "score": 30.0,
        "development/loss": 1.75,
        "development/bleu-4": 30.0,
        "development/distinct": 0.5,
    },
]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LOG), encoding="utf-8")
    return path


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "test-000000.jpg"
    path.write_bytes(encoded(draw(PAIR)))
    return path


@pytest.fixture
def page(tmp_path):
    def page(**fields) -> str:
        bare = Report(7, 3723.0, (), {}, (), (), (), FEW)
        write(tmp_path / "new" / "report.html", bare._replace(**fields))
        return (tmp_path / "new" / "report.html").read_text(encoding="utf-8")

    return page


def cards(text):
    return re.findall(r"<article>.*?</article>", text, re.DOTALL)


def plain(text):
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


class Balance(HTMLParser):
    """Holds that each tag that is opened is closed in its turn."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.tags = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "srcset", "href")]
        if tag not in ("meta", "img", "source", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(page, picture, log):
    log.write_text(json.dumps(LOG[0]), encoding="utf-8")  # three panels take longer
    text = page(
        stages=(Stage("encoder", 61), Stage("words", 9.04)),
        pictures={"training": 12000},
        figures=(Figures("Captions", ("split", "BLEU-4"), (("test", "0.4"),), "Of five."),),
        shown=(Shown(picture, PAIR, "a key", (Label("key", 0.5),)),),
        trained=(Trained("Captioner", log),),
        words=vectors(5),
    )
    found = Balance()
    found.feed(text)
    found.close()
    assert not found.open
    assert "script" not in found.tags
    assert len(found.addresses) == 1 + 2 * (1 + 1)  # a picture; the loss and the map, twice
    assert all(re.match(r"data:image/(jpeg|svg\+xml);base64,", each) for each in found.addresses)
    assert "http" not in re.sub(r"base64,[^\"]*", "", text).replace("http-equiv", "")
    assert "url(" not in text
    for each in found.addresses:
        content = base64.b64decode(each.partition(",")[2], validate=True)
        if "svg" in each:
            assert content.rstrip().endswith(b"</svg>")
            assert not re.search(rb"<(script|image|style[^>]*>[^<]*@import)", content)
        else:
            assert content == picture.read_bytes()
    assert 'width="192" height="192"' in text
    said = plain(text)
    assert "A drawn world, seed 7" in said
    assert "in 1 h 02 min." in said
    assert "encoder 1 min 01 s words 9.0 s" in said
    assert re.findall(r'width: ([\d.]+)%"', text) == ["100.0", "14.8"]
    assert "training 12,000" in said
    assert "Captions split BLEU\u20114 test 0.4 Of five." in said
    dark = re.findall(r'<source media="\(prefers-color-scheme: dark\)" srcset="[^,]*,(.*?)"', text)
    assert len(dark) == 2
    assert all(b"#e9e9ec" in base64.b64decode(each) for each in dark)


def test_nothing_that_is_given_is_markup(page, tmp_path, log):
    log.write_text("", encoding="utf-8")
    bad = "<script>alert('x')</script>\"'><img src=x>&amp;"
    path = tmp_path / "<b>&.jpg"
    path.write_bytes(encoded(draw(PAIR)))
    text = page(
        stages=(Stage(bad, 1),),
        pictures={bad: 1},
        figures=(Figures(bad, (bad, bad), ((bad, bad),), bad),),
        shown=(Shown(path, PAIR, bad, (Label(bad, 1.0),)),),
        trained=(Trained(bad, log),),
    )
    assert "<script" not in text
    assert "src=x>" not in text
    assert "<b>" not in text
    assert plain(text).count(bad) == 1 + 1 + 6 + 2 + 1
    found = Balance()
    found.feed(text)
    assert not found.open


def test_a_card_says_what_is_true_and_what_is_false(page, picture):
    shown = (
        Shown(picture, PAIR, "a red key on the sand", ()),
        Shown(picture, PAIR, "a <key", ()),
        Shown(picture, PAIR, "a key", ()),
    )
    first, second, third = cards(page(shown=shown))
    assert '<span class="false">red</span> <span class="true">key</span> on the ' in first
    assert "False: colour red</p>" in first
    assert "There is a big black key right of a small striped red ball, on sand." in first
    assert "class=" not in re.sub(r'class="(said|soft)"', "", second)
    assert "a &lt;key</p>" in second
    assert "not understood: no such word here: &#39;&lt;&#39;" in second
    assert "False:" not in third
    assert "not understood" not in third


def test_labels_are_ticked_if_they_name_what_there_is(page, picture):
    labels = (Label("cup, mug", 0.8), Label("key", 0.4), Label("ball", 0.2), Label("odd", -0.1))
    other = (Label("mug, cup", -0.2), Label("hammer, key", -0.5))
    first, second = cards(
        page(shown=(Shown(picture, PAIR, "a key", labels), Shown(picture, CUPS, "a key", other)))
    )
    assert re.findall(r"<li(.*?)><span>(.*?)</span><span>(.*?)</span>", first) == [
        (' style="--share: 100.0%"', "cup, mug", "0.80"),
        (' class="right" style="--share: 50.0%"', "key ✓", "0.40"),
        (' style="--share: 25.0%"', "ball +", "0.20"),
        (' style="--share: 0.0%"', "odd", "-0.10"),
    ]
    assert "Not among them" not in first
    assert re.findall(r"share: (\S+)%.*?<span>(.*?)</span>", second) == [
        ("0", "mug, cup ✓"),
        ("0", "hammer, key"),
    ]
    (third,) = cards(page(shown=(Shown(picture, CUPS, "a key", labels[1:]),)))
    assert "Not among them: cup" in third


def test_pictures_are_by_split_a_dozen_each(page, picture):
    later = Scene("training", 0, 0, (SMALL_BALL,), "sand")
    shown = [Shown(picture, later, "a ball", ())]
    shown += [Shown(picture, BALL, f"a {colour} ball", ()) for colour in ("red", "blue")]
    shown += [Shown(picture, PAIR, f"a key {'on ' * place}", ()) for place in range(13)]
    text = page(shown=tuple(shown))
    assert re.findall(r"<h3>(.*?)</h3>", text) == ["Test", "Held-out kinds", "Training"]
    assert re.findall(r"(\d+(?: of \d+)?) shown, (\d+) with", plain(text)) == [
        ("12 of 13", "1"),
        ("2", "1"),
        ("1", "1"),
    ]
    assert len(cards(text)) == 12 + 2 + 1
    assert f"a key {'on ' * 11}<" in text.replace("</p>", "<")
    assert f"a key {'on ' * 12}<" not in text.replace("</p>", "<")


@pytest.mark.parametrize(("side", "shown"), [(64, 192), (96, 192), (112, 224), (224, 224)])
def test_a_picture_is_drawn_some_whole_number_of_times_as_large(page, tmp_path, side, shown):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(draw(PAIR, side=side)))
    text = page(shown=(Shown(path, PAIR, "a key", ()),))
    assert "data:image/jpeg;base64," in text
    Image.fromarray(draw(PAIR, side=side)).save(path, "PNG")  # its content counts, not its name
    assert "data:image/png;base64," in page(shown=(Shown(path, PAIR, "a key", ()),))
    assert f'width="{shown}" height="{shown}"' in text


def test_the_same_report_gives_the_same_page(page, log):
    log.write_text(json.dumps(LOG[0]), encoding="utf-8")
    more = {"trained": (Trained("words", log),)}
    assert page(**more) == page(**more)


def test_what_is_wrong_is_named_and_the_old_page_stands(page, tmp_path, picture, log):
    old = page()
    Image.fromarray(draw(PAIR)).save(picture, "GIF")
    with pytest.raises(FormatError, match=r"test-000000\.jpg: expected a JPEG or PNG file"):
        page(shown=(Shown(picture, PAIR, "a key", ()),))
    with pytest.raises(FileNotFoundError):
        page(trained=(Trained("a", tmp_path / "none.jsonl"),))
    with pytest.raises(ValueError, match="Labels: a row of 1 cells under 2 columns: a"):
        page(figures=(Figures("Labels", ("x", "y"), (("a", "b"), ("a",))),))
    for bad in ("{", "[]", '{"loss": 1}', '{"step": 1, "loss": null}', '{"step": 1e999}', "7"):
        log.write_text('{"step": 1, "loss": 2}\n' + bad, encoding="utf-8")
        with pytest.raises(FormatError, match=r"log\.jsonl: line 2: expected figures by step"):
            page(trained=(Trained("a", log),))
    assert (tmp_path / "new" / "report.html").read_text(encoding="utf-8") == old
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["report.html"]


def test_a_training_without_a_line_says_so(page, log):
    log.write_text("", encoding="utf-8")
    assert "Nothing is logged." in page(trained=(Trained("a", log),))


# The plots


def test_curves_have_what_is_in_the_log(log):
    found = read_log(log)
    assert found.loss == [(20, 2.5), (40, 1.5)]
    assert found.judged == {
        "loss": [(40, 1.75)],
        "bleu-4": [(40, 30.0)],
        "distinct": [(40, 0.5)],
    }
    plots = curves(log)
    assert [plot.described for plot in plots] == [
        "loss by step; at the end training 1.5, development 1.75",
        "development by step; at the end bleu-4 30",
        "development, shares by step; at the end distinct 0.5",
    ]
    for plot in plots:
        assert b"#e9e9ec" in plot.dark
        assert b"#e9e9ec" not in plot.light
        assert b"#1d1d1f" in plot.light


def test_only_what_is_logged_is_drawn(log):
    log.write_text('{"step": 5, "judged": 1, "development/loss": NaN}', encoding="utf-8")
    (plot,) = curves(log)
    assert plot.described == "loss by step; at the end development nan"
    log.write_text('{"step": 5, "loss": 2.0}\n', encoding="utf-8")
    (plot,) = curves(log)
    assert plot.described == "loss by step; at the end training 2"


@pytest.mark.parametrize("count", [3, 4, 12])
def test_principal_axes_are_those_of_the_covariance(count):
    given = np.random.default_rng(count).standard_normal((count, 5)).astype(np.float32)
    places, share = principal(given)
    centred = given.astype(np.float64) - given.astype(np.float64).mean(0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    for column, axis in enumerate((-1, -2)):
        along = centred @ axes[:, axis]
        along *= 1 if along.max() >= -along.min() else -1
        np.testing.assert_allclose(places[:, column], along, atol=1e-5)
    assert share == pytest.approx(values[-2:].sum() / values.sum(), abs=1e-6)
    np.testing.assert_allclose(principal(given + 3)[0], places, atol=1e-4)


def test_vectors_that_are_all_alike_are_in_one_place():
    places, share = principal(np.ones((4, 3), np.float32))
    assert np.abs(places).max() < 1e-6
    assert 0 <= share <= 1 + 1e-9


def test_kinds_are_found_by_their_synonyms_and_those_without_a_vector_named():
    words = vectors(20)  # by their last synonym: "mug" is there, "cup" is not
    plot, note = map_of_kinds(words)
    assert plot is not None
    assert "cup" in plot.described
    assert plot.described.endswith(", " + KINDS[19].name)
    assert f"Without a vector: {', '.join(kind.name for kind in KINDS[20:])}." in note
    assert "Vectors of 8 numbers" in note
    plot, note = map_of_kinds(FEW)
    assert plot is None
    assert note.startswith("Too few kinds have a vector to draw a map. Without a vector: whale")


def test_words_on_the_map_lie_apart_and_within_it():
    places, _ = principal(vectors().matrix)
    dots = vl.demo_plots._in_points(places)
    boxes = vl.demo_plots._boxes(dots, [vl.demo_plots._extent(kind) for kind in KINDS])
    width, height = vl.demo_plots._MAP
    for number, (left, bottom, right, top) in enumerate(boxes):
        assert left >= 0
        assert bottom >= 0
        assert right <= width
        assert top <= height
        for other in boxes[:number]:
            across = min(right, other[2]) - max(left, other[0])
            assert across <= 0 or min(top, other[3]) - max(bottom, other[1]) <= 2
    # One unit is as long across as down.
    ratio = (dots - dots.mean(0))[np.abs(places) > 0.1] / places[np.abs(places) > 0.1]
    assert ratio.max() == pytest.approx(ratio.min())


def test_unseen_kinds_are_marked_and_families_have_a_colour_each():
    names = {vl.demo_plots._family(kind) for kind in KINDS}
    assert len(names) <= len(vl.demo_plots._COLOURS)
    assert names == {each for kind in OF for each in families(kind) if families(kind)[-3] == each}
    bold, light = (vl.demo.plots._weight(OF[name]) for name in ("whale", "crab"))
    assert (bold, light) == ("bold", "normal")
    marks = [vl.demo.plots._marker(unseen=unseen)["marker"] for unseen in (True, False)]
    assert len(set(marks)) == 2


def test_matplotlib_is_imported_only_when_something_is_drawn():
    for module in (vl.demo_report, vl.demo_plots):
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "matplotlib" not in ast.unparse(node)
