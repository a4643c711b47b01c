"""The demonstration's page: escaping, embedding, contents."""

import base64
import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.helpers.scenes import BALL, CUPS, PAIR
from vl.data.words.vectors import WordVectors
from vl.data.world.drawing import encode_jpeg, render
from vl.data.world.kinds import KIND_BY_NAME, KINDS
from vl.data.world.scenes import SPLITS, sample_scene
from vl.demo.report import Example, Report, ResultTable, describe, write
from vl.demo.truth import check_caption


def test_description_is_true_and_complete():
    assert describe(PAIR) == "There is a big black key right of a small striped red ball, on sand"
    assert describe(CUPS) == "There are two big blue cups, on grass"
    for scene in (sample_scene(split, index) for split in SPLITS for index in range(40)):
        truth = check_caption(describe(scene).replace(",", ""), scene)
        assert truth.all_true, (describe(scene), truth)
        assert truth.recalled == truth.facts


WORDS = WordVectors(["fish", "crab"], np.eye(2, dtype=np.float32))  # too few for a plot
LOG = json.dumps({"step": 20, "loss": 2.5})


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(LOG, encoding="utf-8")
    return path


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "test-000000.jpg"
    path.write_bytes(encode_jpeg(render(PAIR)))
    return path


@pytest.fixture
def page(tmp_path):
    def page(**fields) -> str:
        empty = Report(7, 3723.0, {}, {}, (), (), {}, WORDS)
        write(tmp_path / "new" / "report.html", empty._replace(**fields))
        return (tmp_path / "new" / "report.html").read_text(encoding="utf-8")

    return page


def cards(text):
    return re.findall(r"<article>.*?</article>", text, re.DOTALL)


def plain(text):
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


class PageParser(HTMLParser):
    """Checks that tags are balanced, and collects them and their URLs."""

    def __init__(self, text):
        super().__init__()
        self.open, self.urls, self.tags = [], [], set()
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.urls += [value for name, value in attrs if name in ("src", "srcset", "href")]
        if tag not in ("meta", "img", "source", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_complete_and_self_contained(page, image, log):
    names = [kind.name for kind in KINDS[:5]]
    text = page(
        stages={"encoder": 61, "words": 9.04},
        images={"training": 12000},
        tables=(ResultTable("Captions", ("split", "BLEU-4"), (("test", "0.4"),), "Of five."),),
        examples=(Example(image, PAIR, "a key", ((KIND_BY_NAME["key"], 0.5),)),),
        logs={"Captioner": log},
        words=WordVectors(names, np.eye(5, dtype=np.float32)),
    )
    parser = PageParser(text)
    assert "script" not in parser.tags
    assert len(parser.urls) == 1 + 2 * (1 + 1)  # an image; curves and word space, twice
    assert all(re.match(r"data:image/(jpeg|svg\+xml);base64,", url) for url in parser.urls)
    assert "http" not in re.sub(r"base64,[^\"]*", "", text).replace("http-equiv", "")
    assert "url(" not in text
    for url in parser.urls:
        content = base64.b64decode(url.partition(",")[2], validate=True)
        if "svg" in url:
            assert content.rstrip().endswith(b"</svg>")
            assert not re.search(rb"<(script|image|style[^>]*>[^<]*@import)", content)
        else:
            assert content == image.read_bytes()
    assert 'width="192" height="192"' in text
    shown = plain(text)
    assert "A drawn world, seed 7" in shown
    assert "in 1 h 02 min." in shown
    assert "encoder 1 min 01 s words 9.0 s" in shown
    assert re.findall(r'width: ([\d.]+)%"', text) == ["100.0", "14.8"]
    assert "training 12,000" in shown
    assert "Captions split BLEU\u20114 test 0.4 Of five." in shown
    dark = re.findall(r'<source media="\(prefers-color-scheme: dark\)" srcset="[^,]*,(.*?)"', text)
    assert len(dark) == 2
    assert all(b"#e9e9ec" in base64.b64decode(content) for content in dark)


def test_markup_is_escaped(page, tmp_path, log):
    log.write_text("", encoding="utf-8")
    bad = "<script>alert('x')</script>\"'><img src=x>&amp;"
    path = tmp_path / "<b>&.jpg"
    path.write_bytes(encode_jpeg(render(PAIR)))
    text = page(
        stages={bad: 1},
        images={bad: 1},
        tables=(ResultTable(bad, (bad, bad), ((bad, bad),), bad),),
        examples=(Example(path, PAIR, bad, ((KIND_BY_NAME["key"], 1.0),)),),
        logs={bad: log},
    )
    assert "<script" not in text
    assert "src=x>" not in text
    assert "<b>" not in text
    assert plain(text).count(bad) == 1 + 1 + 6 + 1 + 1
    PageParser(text)


def test_card_has_true_and_false_assertions(page, image):
    captions = ("a red key on the sand", "a <key", "a key")
    first, second, third = cards(
        page(examples=tuple(Example(image, PAIR, caption, ()) for caption in captions))
    )
    assert '<span class="false">red</span> <span class="true">key</span> ' in first
    assert '<span class="true">on the sand</span>' in first
    assert "False: color red</p>" in first
    assert "There is a big black key right of a small striped red ball, on sand." in first
    assert "class=" not in re.sub(r'class="(caption|soft)"', "", second)
    assert "a &lt;key</p>" in second
    assert "not parsed: " in second
    assert "False:" not in third
    assert "not parsed" not in third


def test_labels_of_the_scenes_kinds_are_marked(page, image):
    cup, key, ball, fish = (KIND_BY_NAME[name] for name in ("cup", "key", "ball", "fish"))
    labels = ((cup, 0.8), (key, 0.4), (ball, 0.2), (fish, -0.1))
    negative = ((cup, -0.2), (key, -0.5))
    first, second, third = cards(
        page(
            examples=(
                Example(image, PAIR, "a key", labels),
                Example(image, CUPS, "a key", negative),
                Example(image, CUPS, "a key", labels[1:]),
            )
        )
    )
    assert re.findall(r"<li(.*?)><span>(.*?)</span><span>(.*?)</span>", first) == [
        (' style="--share: 100.0%"', "cup, mug", "0.80"),
        (' class="main" style="--share: 50.0%"', "key ✓", "0.40"),
        (' style="--share: 25.0%"', "ball +", "0.20"),
        (' style="--share: 0.0%"', "fish", "-0.10"),
    ]
    assert "Not among the labels" not in first
    assert re.findall(r"share: (\S+)%.*?<span>(.*?)</span>", second) == [
        ("0", "cup, mug ✓"),
        ("0", "key"),
    ]
    assert "Not among the labels: cup" in third


def test_examples_are_grouped_by_split(page, image):
    examples = [Example(image, BALL, f"a {color} ball", ()) for color in ("red", "blue")]
    examples.append(Example(image, PAIR, "a key", ()))
    text = page(examples=tuple(examples))
    assert re.findall(r"<h3>(.*?)</h3>", text) == ["Test", "Held-out kinds"]
    assert re.findall(r"(\d+) shown, (\d+) with", plain(text)) == [("1", "1"), ("2", "1")]
    assert len(cards(text)) == 3


@pytest.mark.parametrize(("side", "width"), [(64, 192), (112, 224), (224, 224)])
def test_images_are_scaled_by_an_integer(page, tmp_path, side, width):
    path = tmp_path / "a.jpg"
    path.write_bytes(encode_jpeg(render(PAIR, side=side)))
    text = page(examples=(Example(path, PAIR, "a key", ()),))
    assert f'width="{width}" height="{width}"' in text


def test_page_is_reproducible(page, log):
    fields = {"logs": {"words": log}}
    assert page(**fields) == page(**fields)


def test_empty_log_is_noted(page, log):
    log.write_text("", encoding="utf-8")
    assert "The log is empty." in page(logs={"a": log})


def test_missing_log_leaves_the_page_unchanged(page, tmp_path):
    old = page()
    with pytest.raises(FileNotFoundError):
        page(logs={"a": tmp_path / "missing.jsonl"})
    assert (tmp_path / "new" / "report.html").read_text(encoding="utf-8") == old
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]
