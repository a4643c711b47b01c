"""The HTML page: escaped, self-contained, sorted, with unexpected words marked."""

import html
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.helpers.evaluations import evaluation
from vl.data.captions.captions import CaptionedImage
from vl.evaluation.output import CaptionEvaluation
from vl.evaluation.page_images import PageImages
from vl.evaluation.report import write_report

IMAGES = [
    CaptionedImage(7, "b.jpg", ("A brown dog runs.", "The dog is outside."), ""),
    CaptionedImage(3, "a.jpg", ("Two cats sleep on a bed.", "Cats on a bed"), ""),
    CaptionedImage(5, "<i>.jpg", ("A <b>child</b> & a ball", "A child's ball"), ""),
]
CANDIDATES = ["a brown dog runs", "two purple cats, asleep", "<script>alert('x')</script> ball"]
BASELINE = ["a dog", "two cats sleep on a bed", ""]
METRICS = ["bleu", "cider-d"]


def make_evaluation(
    candidates: list[str] = CANDIDATES, baseline: list[str] | None = None, **options: object
) -> CaptionEvaluation:
    options = {"images": IMAGES, "metrics": METRICS, **options}
    return evaluation(options.pop("images"), candidates, baseline, **options)


@pytest.fixture
def page(tmp_path):
    def page(result: CaptionEvaluation, sort_by: str | None = "CIDEr-D", **options) -> str:
        path = tmp_path / "new" / "report.html"
        write_report(path, result, sort_by=sort_by, **options)
        return path.read_text(encoding="utf-8")

    return page


def cards(text: str) -> list[str]:
    return re.findall(r"<article.*?</article>", text, re.DOTALL)


def test_captions_and_names_are_escaped(page):
    for script in ("<script>alert('x')</script> ball", "</article>\"'><img src=x onerror=y>"):
        text = page(
            make_evaluation([*CANDIDATES[:2], script], [script, "", script], name='"><u>.json')
        )
        assert text.count("<script") == text.count("</script") == 1  # of the page itself
        assert "<img" not in text
        assert "<u>" not in text
        assert "<i>.jpg" not in text
        assert "<b>" not in text
        assert "A &lt;b&gt;child&lt;/b&gt; &amp; a ball" in text
        assert len(cards(text)) == 3
        plain = html.unescape(re.sub(r"</?mark>", "", text))
        assert script in plain


class LinkParser(HTMLParser):
    """Collects URLs that a browser would fetch, and tags that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.urls += [value for key, value in attrs if key in ("src", "href", "data", "action")]
        if tag not in ("meta", "img", "input", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_complete_and_fetches_only_images(page, tmp_path, caplog):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    text = page(
        make_evaluation(baseline=BASELINE, with_diversity=True),
        images=PageImages(tmp_path, page=tmp_path / "new" / "report.html"),
    )
    assert "1 images are missing, such as <i>.jpg" in caplog.text
    links = LinkParser()
    links.feed(text)
    assert links.open == []
    assert links.urls == ["../a.jpg", "../b.jpg"]
    assert "url(" not in text
    assert "@import" not in text
    assert text.count('loading="lazy"') == 2


def test_words_in_no_reference_are_marked(page):
    text = page(make_evaluation(["A brown cat's  dog-runs", "Cats, on a Bed!", "child 's ball"]))
    captions = {card.split("<p")[1].split("</p>")[0].split(">", 1)[1] for card in cards(text)}
    assert captions == {
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
def test_words_are_compared_as_the_whole_caption_is_tokenized(page, caption, reference, marked):
    images = [CaptionedImage(1, "", (reference,), "")]
    text = page(make_evaluation([caption], ["a"], images=images))
    html_caption = re.search('<p class="caption">(.*?)</p>', text)[1]
    assert re.findall("<mark>(.*?)</mark>", html_caption) == marked
    assert re.sub("</?mark>", "", html_caption) == caption


def test_empty_captions_are_labelled(page):
    text = page(make_evaluation(baseline=BASELINE))
    assert text.count('<p class="baseline"><i>no words</i></p>') == 1


@pytest.mark.parametrize("name", ["BLEU-1", "CIDEr-D", None])
def test_the_worst_comes_first(page, name):
    result = make_evaluation(["a brown dog", "cats sleep", "purple"], ["", "", ""])
    text = page(result, name)
    keys = [card.split('data-keys="')[1].split('"')[0].split() for card in cards(text)]
    names = re.findall(r"<option(?: selected)?>(.*?)</option>", text)
    scores = [score.name for score in result.system.scored.scores]
    differences = [f"{score}, difference" for score in scores]
    assert names == [*scores, *differences, "order of the references"]
    assert text.count("<option selected>") == 1
    chosen = name or "order of the references"
    assert f"<option selected>{chosen}</option>" in text
    column = [float(key[names.index(chosen)]) for key in keys]
    assert column == sorted(column)
    assert len(set(column)) > 1
    if name:
        score = result.system.scored.scores[scores.index(name)]
        assert column == pytest.approx(sorted(score.per_image), rel=1e-5)
    else:
        assert re.findall(r"<dd>(\d) ", text) == ["7", "3", "5"]
        assert column == [0, 1, 2]


def test_scores_intervals_signatures_and_comparisons(page):
    result = make_evaluation(baseline=BASELINE, with_diversity=True)
    text = html.unescape(page(result))
    assert "<title>a.json evaluated against references.json</title>" in text
    assert "2 more have no caption and are left out; 1 captions of other images" in text
    assert "scores times 100; 20 bootstrap resamples of the images, seed 4. vl " in text
    assert "90 % confidence interval" in text
    for score in result.corpus_scores:
        low, high = score.interval
        row = f"<td>{score.value:.2f}</td><td>[{low:.2f}, {high:.2f}]</td>"
        assert f'<tr><th scope="row">{score.name}</th>{row}</tr>' in text
    for score in result.corpus_scores[3:]:
        assert f"<li>{score.signature}</li>" in text
    for _, first, second, difference, (low, high), p_value in result.comparisons:
        row = f"{difference:+.2f}</td><td>[{low:+.2f}, {high:+.2f}]</td><td>{p_value:.4f}</td>"
        assert f"<td>{first:.2f}</td><td>{second:.2f}</td><td>{row}" in text
    assert "<h2>a.json vs. b.json</h2>" in text
    assert "<dt>Distinct captions</dt><dd>3</dd>" in text


def test_sections_without_content_are_omitted(page):
    text = page(make_evaluation(metrics=[], with_diversity=True), None)
    for heading in ("<h2>Scores</h2>", "Scores of single images", " vs. ", "interval</th>"):
        assert heading not in text
    assert "<h2>Diversity</h2>" in text
    assert "<h2>Diversity</h2>" not in page(make_evaluation())


def test_file_names(page):
    equal = page(make_evaluation(baseline=BASELINE, name="new/b.json"))
    assert "<h2>new/b.json vs. runs/b.json</h2>" in equal  # with their folders
    result = replace(make_evaluation(), sources=["data, old/a, b.txt", "c/d.txt"])
    text = page(result)
    assert "<h1>a.json evaluated against a, b.txt, d.txt</h1>" in text
    assert "runs/a.json against data, old/a, b.txt, c/d.txt: 3 images" in text


def test_significant_differences_are_bold(page):
    captions = [image.captions[0] for image in IMAGES] * 4
    for baseline, count in ((["a"] * 12, 5), (captions, 0)):
        text = page(make_evaluation(captions, baseline, images=IMAGES * 4))
        assert text.count('class="significant"') == count


def test_histograms_count_every_image(page):
    text = page(make_evaluation(metrics=["rouge-l"]), "ROUGE-L")
    counts = re.findall(r"<title>(\d+) images from (\S+) to (\S+)</title>", text)
    assert sum(int(count) for count, _, _ in counts) == 3
    assert all(float(low) < float(high) for _, low, high in counts)
    heights = [float(height) for height in re.findall(r'<rect [^>]* height="([\d.]+)"', text)]
    assert max(heights) == 80
    (median,) = re.findall(r"median ([\d.]+)", text)
    (score,) = make_evaluation(metrics=["rouge-l"]).system.scored.scores
    assert float(median) == pytest.approx(np.median(score.per_image), rel=1e-3)


def test_equal_scores(page):
    text = page(make_evaluation(["", "", ""], metrics=["rouge-l"]), "ROUGE-L")
    assert re.findall(r"<dd>(\d) ", text) == ["7", "3", "5"]  # in the order of the references
    assert re.findall(r"<title>([1-9]\d*) images from (\S+)", text) == [("3", "0")]
    assert "<i>0</i><i>1</i>" in text


def test_long_captions_are_truncated(page):
    text = page(make_evaluation(["a brown dog " * 10_000, *CANDIDATES[1:]]))
    assert len(text) < 30_000
    (count,) = re.findall(r"a brown dog a \.\.\. and ([\d,]+) characters more</p>", text)
    assert int(count.replace(",", "")) == 12 * 10_000 - 1 - len("a brown dog " * 83 + "a")


def test_lone_surrogates_and_control_characters(page):
    text = page(make_evaluation(["a \ud83d dog", "a \x00 cat", "\u202e ball"]))
    assert "a <mark>?</mark> <mark>dog</mark>" not in text  # dog is in the references
    assert re.search(r'<p class="caption">a (<mark>)?\?(</mark>)? dog</p>', text)
