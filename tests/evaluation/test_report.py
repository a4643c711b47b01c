"""The page: everything escaped, strange words marked, worst first, nothing from elsewhere."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from vl.data.captions.captions import CaptionedImage
from vl.evaluation.pairing import Aligned
from vl.evaluation.records import Outcome, System
from vl.evaluation.report import write_report
from vl.metrics.evaluator import Evaluator, paired, variety

IMAGES = [
    CaptionedImage(7, "b.jpg", ("A brown dog runs.", "The dog is outside."), ""),
    CaptionedImage(3, "a.jpg", ("Two cats sleep on a bed.", "Cats on a bed"), ""),
    CaptionedImage(5, "<i>.jpg", ("A <b>child</b> & a ball", "A child's ball"), ""),
]
SAID = ["a brown dog runs", "two purple cats, asleep", "<script>alert('x')</script> ball"]
OTHER = ["a dog", "two cats sleep on a bed", ""]
SIMPLE = ["bleu", "cider-d"]


def outcome(
    said: list[str] = SAID,
    other: list[str] | None = None,
    *,
    images: list[CaptionedImage] = IMAGES,
    name: str = "runs/a.json",
    measures: list[str] = SIMPLE,
    diversity: bool = False,
) -> Outcome:
    evaluator = Evaluator([image.captions for image in images], measures=measures)
    evaluated = evaluator(said)
    against, compared = None, []
    if other is not None:
        against = System("runs/b.json", Aligned(images, other, 0, 0), evaluator(other))
        compared = paired(evaluated.scores, against.evaluated.scores, resamples=20)
    return Outcome(
        sources=["data/people.json"],
        evaluator=evaluator,
        system=System(name, Aligned(images, said, 2, 1), evaluated),
        against=against,
        figures=evaluator.figures(evaluated.scores, resamples=20),
        compared=compared,
        variety=variety(said) if diversity else None,
        resamples=20,
        confidence=0.9,
        seed=4,
    )


@pytest.fixture
def page(tmp_path):
    def page(found: Outcome, sort: str | None = "CIDEr-D", **more) -> str:
        path = tmp_path / "new" / "report.html"
        write_report(path, found, sort=sort, **more)
        return path.read_text(encoding="utf-8")

    return page


def cards(text: str) -> list[str]:
    return re.findall(r"<article.*?</article>", text, re.DOTALL)


def test_nothing_of_a_caption_or_a_name_is_markup(page):
    for script in ("<script>alert('x')</script> ball", "</article>\"'><img src=x onerror=y>"):
        text = page(outcome([*SAID[:2], script], [script, "", script], name='"><u>.json'))
        assert text.count("<script") == text.count("</script") == 1  # the page's own
        assert "<img" not in text
        assert "<u>" not in text
        assert "<i>.jpg" not in text
        assert "<b>" not in text
        assert "A &lt;b&gt;child&lt;/b&gt; &amp; a ball" in text
        assert len(cards(text)) == 3
        plain = html.unescape(re.sub(r"</?mark>", "", text))
        assert script in plain


class _Links(HTMLParser):
    """Collects what a browser would fetch, and tags that are left open."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.fetched += [value for key, value in attrs if key in ("src", "href", "data", "action")]
        if tag not in ("meta", "img", "input", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_nothing_but_photographs(page):
    text = page(outcome(other=OTHER, diversity=True), address=lambda name: f"pictures/{name}")
    links = _Links()
    links.feed(text)
    assert links.open == []
    assert links.fetched == ["pictures/<i>.jpg", "pictures/a.jpg", "pictures/b.jpg"]
    assert "url(" not in text
    assert "@import" not in text
    assert text.count('loading="lazy"') == 3
    assert "prefers-color-scheme: dark" in text
    assert "content-visibility: auto" in text


def test_words_in_no_reference_are_marked_between_spaces(page):
    text = page(outcome(["A brown cat's  dog-runs", "Cats, on a Bed!", "child 's ball"]))
    said = {card.split("<p")[1].split("</p>")[0].split(">", 1)[1] for card in cards(text)}
    assert said == {
        "A brown <mark>cat&#39;s</mark>  <mark>dog-runs</mark>",
        "Cats, on a Bed!",
        "child &#39;s ball",
    }


@pytest.mark.parametrize(
    ("caption", "reference", "marked"),
    [
        ("a dog runs 2 1/2 miles", "a dog runs 2 1/2 miles", []),
        ("a dog runs 2 1/2 miles", "a dog runs 2 miles", ["1/2"]),
        ("mister J. The dog", "mister J. The dog", []),
        ("mister J. The dog", "the dog mister j", []),
        ("mister J. The dog", "the dog mister", ["J."]),
        ("mister J. The cat", "mister J. The dog", ["cat"]),
    ],
)
def test_a_word_is_strange_as_the_whole_caption_has_it(page, caption, reference, marked):
    images = [CaptionedImage(1, "", (reference,), "")]
    text = page(outcome([caption], ["a"], images=images))
    said = re.search('<p class="said">(.*?)</p>', text)[1]
    assert re.findall("<mark>(.*?)</mark>", said) == marked
    assert re.sub("</?mark>", "", said) == caption


def test_a_caption_without_words_says_so(page):
    (card,) = [
        card for card in cards(page(outcome(other=OTHER))) if "<i>.jpg" in html.unescape(card)
    ]
    assert '<p class="other"><i>no words</i></p>' in card


@pytest.mark.parametrize("name", ["BLEU-1", "CIDEr-D", None])
def test_the_worst_comes_first(page, name):
    found = outcome(["a brown dog", "cats sleep", "purple"], ["", "", ""])
    text = page(found, name)
    orders = [card.split('data-order="')[1].split('"')[0].split() for card in cards(text)]
    names = re.findall(r"<option(?: selected)?>(.*?)</option>", text)
    scores = [score.name for score in found.system.evaluated.scores]
    differences = [f"{score}, difference" for score in scores]
    assert names == [*scores, *differences, "order of the references"]
    assert text.count("<option selected>") == 1
    chosen = name or "order of the references"
    assert f"<option selected>{chosen}</option>" in text
    column = [float(order[names.index(chosen)]) for order in orders]
    assert column == sorted(column)
    assert len(set(column)) > 1
    if name:
        score = found.system.evaluated.scores[scores.index(name)]
        assert column == pytest.approx(sorted(score.images), abs=1e-5)
    else:
        assert re.findall(r"<dd>(\d) ", text) == ["7", "3", "5"]
        assert column == [0, 1, 2]


def test_images_that_score_alike_stay_in_the_order_of_the_references(page):
    text = page(outcome(["", "", ""]))
    assert re.findall(r"<dd>(\d) ", text) == ["7", "3", "5"]


def test_the_top_has_scores_intervals_signatures_and_the_comparison(page):
    found = outcome(other=OTHER, diversity=True)
    text = html.unescape(page(found))
    assert "<title>a.json scored by people.json</title>" in text
    assert "2 more have no caption and are left out; 1 captions of other images" in text
    assert "intervals from 20 resamples, seed 4. vl " in text
    assert "90 % interval" in text
    for figure in found.figures:
        low, high = figure.interval
        row = f"<td>{figure.value:.4f}</td><td>[{low:.4f}, {high:.4f}]</td>"
        assert f'<tr><th scope="row">{figure.name}</th>{row}</tr>' in text
    for figure in found.figures[3:]:
        assert f"<li>{figure.signature}</li>" in text
    for one in found.compared:
        _, difference, (low, high), p_value = one.comparison
        row = f"{difference:+.4f}</td><td>[{low:+.4f}, {high:+.4f}]</td><td>{p_value:.4f}</td>"
        assert f"<td>{one.first:.4f}</td><td>{one.second:.4f}</td><td>{row}" in text
    assert "<h2>a.json against b.json</h2>" in text
    assert "<dt>distinct</dt><dd>3</dd>" in text


def test_what_was_not_asked_for_is_not_on_the_page(page):
    text = page(outcome(measures=[], diversity=True), None)
    for heading in ("<h2>Scores</h2>", "Images by score", " against ", "interval</th>"):
        assert heading not in text
    assert "<h2>Variety</h2>" in text
    assert "<h2>Variety</h2>" not in page(outcome())


def test_a_file_with_a_comma_in_its_name_is_one_file(page):
    found = outcome()._replace(sources=["data, old/a, b.txt", "c/d.txt"])
    text = page(found)
    assert "<h1>a.json scored by a, b.txt, d.txt</h1>" in text
    assert "runs/a.json by data, old/a, b.txt, c/d.txt: 3 images" in text


def test_files_of_one_name_are_told_apart_by_their_folders(page):
    assert "<h2>new/b.json against runs/b.json</h2>" in page(
        outcome(other=OTHER, name="new/b.json")
    )


def test_a_difference_that_is_no_chance_is_bold(page):
    found = outcome(other=OTHER)
    sure = found.compared[0].comparison._replace(p_value=0.01)
    text = page(found._replace(compared=[found.compared[0]._replace(comparison=sure)]))
    assert text.count('class="sure"') == 1
    chance = sure._replace(p_value=0.1)  # of 90 % intervals
    text = page(found._replace(compared=[found.compared[0]._replace(comparison=chance)]))
    assert 'class="sure"' not in text


def test_histograms_hold_every_image(page):
    text = page(outcome(measures=["rouge-l"]), "ROUGE-L")
    counts = re.findall(r"<title>(\d+) images from (\S+) to (\S+)</title>", text)
    assert sum(int(count) for count, _, _ in counts) == 3
    assert all(float(low) < float(high) for _, low, high in counts)
    heights = [float(height) for height in re.findall(r'<rect [^>]* height="([\d.]+)"', text)]
    assert max(heights) == 80
    (median,) = re.findall(r"median ([\d.]+)", text)
    (score,) = outcome(measures=["rouge-l"]).system.evaluated.scores
    assert float(median) == pytest.approx(np.median(score.images), abs=1e-3)


def test_scores_that_are_all_alike_make_a_histogram(page):
    text = page(outcome(["", "", ""], measures=["rouge-l"]), "ROUGE-L")
    assert re.findall(r"<title>([1-9]\d*) images from (\S+)", text) == [("3", "0")]
    assert "<i>0</i><i>1</i>" in text


def test_a_very_long_caption_is_cut_short(page):
    text = page(outcome(["a brown dog " * 10_000, *SAID[1:]]))
    assert len(text) < 30_000
    (more,) = re.findall(r"a brown dog a \.\.\. and ([\d,]+) characters more</p>", text)
    assert int(more.replace(",", "")) == 12 * 10_000 - 1 - len("a brown dog " * 83 + "a")


def test_half_a_character_and_a_control_do_not_stop_the_page(page):
    text = page(outcome(["a \ud83d dog", "a \x00 cat", "\u202e ball"]))
    assert "a <mark>?</mark> <mark>dog</mark>" not in text  # dog is in the references
    assert re.search(r'<p class="said">a (<mark>)?\?(</mark>)? dog</p>', text)


def test_a_sort_that_is_no_score_is_refused_and_nothing_written(tmp_path: Path):
    path = tmp_path / "report.html"
    with pytest.raises(ValueError, match="no score is called 'METEOR'; there are BLEU-1, BLEU-2"):
        write_report(path, outcome(), sort="METEOR")
    assert list(tmp_path.iterdir()) == []
