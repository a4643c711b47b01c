"""Queries of words and images by hand, and the contact sheets of labels and hits."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tests.helpers.tiny_captioner import drawings
from vl.data.embeddings import EmbeddedFile
from vl.data.identity import read_stamped
from vl.data.words.label_space import LabelSpace
from vl.data.words.vectors import WordVectors
from vl.data.words.wordnet import WordNet
from vl.labelling.candidates import Answer, Prediction
from vl.labelling.image_search import ImageQuery, search_images, write_search_sheet
from vl.labelling.sheet import label_cell
from vl.search.index import Hit, Index

# Images' positions in a word space of two dimensions.
IMAGES = {"0.png": (1, 0), "in/1.png": (0, 2), "in/2.png": (-1, 0), "3.png": (3, 3)}
WORDS = WordVectors(
    ("east", "north", "west", "okapi", "stop_sign"),
    np.array([[1, 0], [0, 1], [-1, 0], [0.6, 0.8], [0, -1]], dtype=np.float32),
)
VECTORS = F.normalize(torch.tensor(list(IMAGES.values())).float(), dim=1)
INDEX = Index(list(IMAGES), VECTORS)


@dataclass
class Compass:
    """A labeller whose images lie where their names say."""

    space: LabelSpace = field(default_factory=lambda: LabelSpace(WORDS))

    @staticmethod
    def embedder(images: list[Path]) -> Tensor:
        paths = [str(image.resolve()) for image in images]
        names = [next(name for name in IMAGES if path.endswith(name)) for path in paths]
        return torch.tensor([IMAGES[name] for name in names]).float()[:, None]

    def project(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors)


@pytest.fixture
def folder(tmp_path):
    paths = drawings(tmp_path / "images", 4)
    (tmp_path / "images/in").mkdir()
    for path in paths[1:3]:
        path.rename(path.parent / "in" / path.name)
    return tmp_path / "images"


def search(*, space=None, top_k=4, exclude_query=False, **query) -> list[Hit]:
    model = Compass(space) if space else Compass()
    return search_images(
        INDEX, model, ImageQuery(**query), top_k=top_k, exclude_query=exclude_query
    )


def test_word_finds_the_nearest_first(caplog):
    caplog.set_level("INFO")
    hits = search(text=["north"])
    assert [hit.name for hit in hits] == ["in/1.png", "3.png", "0.png", "in/2.png"]
    assert [hit.cosine for hit in hits] == pytest.approx([1, 0.5**0.5, 0, 0], abs=1e-6)
    assert search(text=["north"], top_k=1) == hits[:1]
    assert not caplog.messages


@pytest.mark.parametrize(
    ("query", "name", "cosine"),
    [
        ({"text": ["east", "north"]}, "3.png", 1.0),
        ({"images": ["0.png"]}, "0.png", 1.0),
        ({"images": ["0.png"], "minus": ["east"], "text": ["north"]}, "in/1.png", 1.0),
        # (1, 1) / sqrt(2) - (1, 0) + (-1, 0): nearest to west, by 1.293 / 1.474
        ({"images": ["3.png"], "minus": ["east"], "text": ["west"]}, "in/2.png", 0.877),
        ({"images": ["3.png", "in/1.png"], "minus": ["north"]}, "3.png", 1.0),
    ],
)
def test_sums_by_hand(query, name, cosine):
    query["images"] = [Path(image) for image in query.get("images", [])]
    (hit,) = search(top_k=1, **query)
    assert hit == (name, pytest.approx(cosine, abs=1e-3))


def test_how_words_were_found_is_logged(caplog):
    caplog.set_level("INFO")
    search(text=["stop signs", "okapi"], minus=["Stop-Sign", "zzz, east", "north gate"])
    assert [message.split(": ")[0] for message in caplog.messages] == [
        "stop signs",
        "Stop-Sign",
        "zzz, east",
        "north gate",
    ]


def test_words_lie_where_labels_lie(caplog):
    """An emu, without a vector, is a kind of east; of west the mean (0, -1) leaves (-1, 1)."""
    caplog.set_level("INFO")
    wordnet = WordNet({"n1": ["east"], "n2": ["emu"]}, [("n1", "n2")])
    assert (
        search(space=LabelSpace(WORDS, wordnet, hypernym_weight=0.5), text=["emu"])[0].name
        == "0.png"
    )
    assert "hypernyms" in caplog.text
    centered = LabelSpace(WORDS, mean=np.array([0, -1], dtype=np.float32))
    hits = search(space=centered, text=["west"], top_k=2)
    assert [hit.name for hit in hits] == ["in/1.png", "in/2.png"]


def test_invalid_queries_are_refused():
    with pytest.raises(ValueError, match="'qqq', 'vvv www'"):
        search(text=["north", "qqq"], minus=["vvv www"], images=[Path("gone.png")])
    with pytest.raises(ValueError, match="cancel out"):
        search(text=["north"], minus=["north"])


@pytest.mark.parametrize("image", ["1.png", "../in/1.png", "../../images/in/1.png"])
def test_images_of_the_query_may_be_excluded(folder, caplog, monkeypatch, image):
    caplog.set_level("INFO")
    monkeypatch.chdir(folder / "in")
    hits = search(images=[Path(image)], top_k=2, exclude_query=True)
    assert [hit.name for hit in hits] == ["3.png", "0.png"]
    assert caplog.messages == ["excluded: in/1.png"]


def test_the_excluded_image_is_the_same_file_or_content(folder, tmp_path):
    """Not the image of another folder with the name of the query."""
    stamps = [read_stamped(folder / name)[1] for name in IMAGES]
    files = [EmbeddedFile(str(folder.resolve()), stamp) for stamp in stamps]
    index = Index(list(IMAGES), VECTORS, files)
    query = tmp_path / "street" / "3.png"
    query.parent.mkdir()
    shutil.copyfile(folder / "0.png", query)

    def excluded(image: Path) -> set[str]:
        hits = search_images(
            index, Compass(), ImageQuery(images=[image]), top_k=4, exclude_query=True
        )
        return set(IMAGES) - {hit.name for hit in hits}

    assert excluded(folder / "3.png") == {"3.png"}
    assert excluded(query) == {"0.png"}  # a copy of it
    query.write_bytes(b"another image")
    assert excluded(query) == set()


def test_only_a_whole_name_is_excluded(tmp_path, caplog):
    caplog.set_level("INFO")
    hits = search(images=[tmp_path / "13.png"], top_k=1, exclude_query=True)
    assert hits[0].name == "3.png"
    assert "nothing" in caplog.text


def colored(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Each image in a color of its own."""
    colors = dict(zip(IMAGES, [(10, 200, 10), (10, 10, 200), (200, 200, 10), (10, 200, 200)]))
    for name, color in colors.items():
        Image.new("RGB", (40, 20), color).save(folder / name)
    return colors


def center(pixels: np.ndarray, color: tuple[int, int, int]) -> tuple[float, float]:
    """Where the color is, as fractions of height and width."""
    where = np.argwhere((np.abs(pixels.astype(int) - color) < 8).all(2))
    assert len(where)
    return tuple((where.mean(0) / pixels.shape[:2]).tolist())


def test_sheet_shows_the_query_above_the_hits(folder, tmp_path):
    colors, path = colored(folder), tmp_path / "sheet.png"
    query = ImageQuery(["north"], [folder / "0.png"])
    hits = search(text=query.text, images=query.images)
    assert write_search_sheet(path, query, hits, image_dir=folder) == []
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    half = pixels.shape[0] // 2
    left = {name: center(pixels[half:], colors[name])[1] for name in IMAGES}
    assert sorted(left, key=left.get) == [hit.name for hit in hits]
    assert center(pixels[:half], colors["0.png"])[1] < 0.2


def test_unreadable_images_are_empty_frames_and_names_stay_inside(folder, tmp_path):
    (tmp_path / "outside.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "3.png").write_bytes(b"no image")
    names = ["3.png", "../outside.png", str(tmp_path / "outside.png"), "$x^{$\x1b\udce4.png"]
    hits = [Hit(name, 0.5) for name in names]
    query = ImageQuery(["$\\$ north"])
    failures = write_search_sheet(tmp_path / "sheet.png", query, hits, image_dir=folder)
    assert len(failures) == 4
    assert str(folder / "outside.png") in str(failures[1])


@pytest.mark.parametrize("none_of_these", [False, True])
def test_label_cell(none_of_these):
    predictions = (Prediction("okapi", 0.5, 0.75, 0), Prediction("ball", 0.25, None, 1))
    cell = label_cell(Path("in/a.png"), Answer(predictions, none_of_these), ["qqq"])
    rows = [(line.text, line.value, line.fraction) for line in cell.lines]
    expected = [("okapi", "75%", 0.75), ("ball", "0.25", 0.25), ("qqq", "no vector", None)]
    assert rows == [
        ("in/a.png", "", None),
        *([("none of these", "", None)] if none_of_these else []),
        *expected,
    ]
    assert cell.lines[1].bold
    many = tuple(Prediction(str(i), 0.1, None, i) for i in range(20))
    assert len(label_cell(Path("a.png"), Answer(many, none_of_these), ["qqq"]).lines) < 13
