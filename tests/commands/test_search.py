"""`vl search`: sums of words and photographs by hand, what is said of words, and the picture."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tests.helpers.tiny_captioner import Tiny, drawings, encoder
from tests.helpers.tiny_labeller import labeller
from vl.__main__ import main
from vl.commands.search import SearchRun, answer, run
from vl.data.embeddings import EmbeddingWriter, Provenance
from vl.data.images.decode import ImageLike, decode
from vl.data.words.label_space import LabelSpace
from vl.data.words.vectors import WordVectors
from vl.data.words.wordnet import WordNet
from vl.encoders.table import ENCODERS
from vl.encoders.weights import fingerprint
from vl.encoding.embedder import Embedder
from vl.labelling.labeller import Labeller
from vl.sheets import thumbnail

# Photographs' embeddings, and where they lie in a word space of two numbers: their first two.
PHOTOS = {"0.png": (1, 0), "in/1.png": (0, 2), "in/2.png": (-1, 0), "3.png": (3, 3)}
HALF = 0.5**0.5


def words() -> WordVectors:
    return WordVectors(
        ("east", "north", "west", "okapi", "stop_sign"),
        np.array([[1, 0], [0, 1], [-1, 0], [0.6, 0.8], [0, -1]], dtype=np.float32),
    )


class Named(Embedder):
    """Embeds images by their names."""

    def __call__(self, images: Sequence[ImageLike]) -> Tensor:
        for image in images:
            decode(image)
        places = torch.zeros(len(images), Tiny.width)
        for row, image in enumerate(images):
            name = next(name for name in PHOTOS if str(image.resolve()).endswith(name))
            places[row, :2] = torch.tensor(PHOTOS[name])
        return places[:, None]


@dataclass
class Compass:
    """A labeller whose photographs lie where their names say."""

    embedder: Embedder = field(default_factory=lambda: Named(encoder(), encoder_name="tiny"))
    space: LabelSpace = field(default_factory=lambda: LabelSpace(words()))

    def project(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors[:, :2])


@pytest.fixture
def index(tmp_path):
    provenance = Provenance(
        "tiny", fingerprint(encoder()), "squash", "float32", ("plain",), Tiny.width
    )
    writer = EmbeddingWriter(tmp_path / "photos.npy", provenance)
    for name, place in PHOTOS.items():
        vector = torch.zeros(1, 1, Tiny.width)
        vector[0, 0, :2] = torch.tensor(place)
        writer.add([name], vector)
    writer.finish()
    return tmp_path / "photos.npy"


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    made = drawings(folder, 4)
    (folder / "in").mkdir()
    for path in made[1:3]:
        path.rename(folder / "in" / path.name)
    return folder


@pytest.fixture(autouse=True)
def told(caplog):
    caplog.set_level("INFO", logger="vl")


def flags(index: Path, **given: object) -> SearchRun:
    return SearchRun(index=index, model=Path("labeller.safetensors"), **given)


def lines(capsys) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_word_finds_the_nearest_best_first(index, capsys, caplog):
    assert answer(flags(index, text=("north",)), Compass()) == 0
    assert lines(capsys) == [
        "in/1.png\t1.0000",
        "3.png\t0.7071",
        "0.png\t0.0000",
        "in/2.png\t0.0000",
    ]
    assert caplog.messages == []
    assert answer(flags(index, text=("north",), top=1), Compass()) == 0
    assert lines(capsys) == ["in/1.png\t1.0000"]


@pytest.mark.parametrize(
    ("given", "best"),
    [
        ({"text": ("east", "north")}, {"3.png": 1.0}),
        ({"text": ("east",), "plus": ("north",)}, {"3.png": 1.0}),
        ({"plus": ("west",)}, {"in/2.png": 1.0}),
        ({"image": ("0.png",)}, {"0.png": 1.0}),
        ({"image": ("0.png",), "minus": ("east",), "plus": ("north",)}, {"in/1.png": 1.0}),
        # (1, 1) / sqrt(2) - (1, 0) + (-1, 0): nearest to west, by 1.293 / 1.474
        ({"image": ("3.png",), "minus": ("east",), "plus": ("west",)}, {"in/2.png": 0.877}),
        ({"image": ("3.png", "in/1.png"), "minus": ("north",)}, {"3.png": 1.0}),
    ],
)
def test_sums_by_hand(index, photos, capsys, given, best):
    given["image"] = tuple(photos / name for name in given.get("image", ()))
    assert answer(flags(index, top=1, json=True, **given), Compass()) == 0
    (line,) = lines(capsys)
    found = {each["name"]: each["cosine"] for each in json.loads(line)["results"]}
    assert found == pytest.approx(best, abs=1e-3)


def test_json_is_one_line_with_the_query(index, photos, capsys):
    given = {"text": ("east",), "image": (photos / "3.png",), "minus": ("west",), "top": 2}
    assert answer(flags(index, json=True, **given), Compass()) == 0
    (line,) = lines(capsys)
    assert json.loads(line) == {
        "query": {
            "text": ["east"],
            "image": [str(photos / "3.png")],
            "plus": [],
            "minus": ["west"],
        },
        "results": [
            # (2, 0) + (1, 1) / sqrt(2): 22.5 degrees / 2.07 from east
            {"name": "0.png", "cosine": pytest.approx((2 + HALF) / (5 + 4 * HALF) ** 0.5)},
            {"name": "3.png", "cosine": pytest.approx((1 + 2 * HALF) / (5 + 4 * HALF) ** 0.5)},
        ],
    }


def test_how_a_word_was_found_is_said_where_it_is_not_the_word_itself(index, capsys, caplog):
    given = {"text": ("stop signs", "okapi"), "minus": ("Stop-Sign", "zzz, east", "north gate")}
    assert answer(flags(index, **given), Compass()) == 0
    assert caplog.messages == [
        "stop signs: as their plural or singular: stop_sign",
        "Stop-Sign: in another spelling: hyphens, spaces, apostrophes, accents: stop_sign",
        "zzz, east: as written, words joined by underscores: east",
        "north gate: by the mean of those of their words that have a vector: north",
    ]


def test_words_lie_where_labels_lie(index, capsys, caplog):
    """An emu, which has no vector, is a kind of east; of west the centre (0, -1) leaves (-1, 1)."""
    wordnet = WordNet({"n1": ["east"], "n2": ["emu"]}, [("n1", "n2")])
    kinds = LabelSpace(words(), wordnet, hypernym_weight=0.5)
    assert answer(flags(index, text=("emu",), top=1), Compass(space=kinds)) == 0
    assert lines(capsys) == ["0.png\t1.0000"]
    said = "emu: no vector of its own: where that lies of which it is a kind"
    assert caplog.messages == [said]
    centred = LabelSpace(words(), mean=np.array([0, -1], dtype=np.float32))
    assert answer(flags(index, text=("west",), top=2), Compass(space=centred)) == 0
    assert lines(capsys) == ["in/1.png\t0.7071", "in/2.png\t0.7071"]


def test_words_without_a_vector_are_all_named(index, photos, capsys):
    given = {"text": ("north", "qqq"), "minus": ("vvv www",), "image": (photos / "gone.png",)}
    with pytest.raises(ValueError, match=r"no word vector for 'qqq', 'vvv www'$"):
        answer(flags(index, **given), Compass())
    assert lines(capsys) == []


def test_a_query_that_cancels_out_is_refused(index):
    with pytest.raises(ValueError, match="cancel out"):
        answer(flags(index, text=("north",), minus=("north",)), Compass())


@pytest.mark.parametrize("image", ["1.png", "../in/1.png", "../../photos/in/1.png"])
def test_a_photograph_of_the_query_may_be_left_out(
    index, photos, capsys, caplog, monkeypatch, image
):
    monkeypatch.chdir(photos / "in")
    given = {"image": (Path(image),), "top": 2, "without_query": True}
    assert answer(flags(index, **given), Compass()) == 0
    assert lines(capsys) == ["3.png\t0.7071", "0.png\t0.0000"]
    assert caplog.messages == ["left out: in/1.png"]


def test_only_the_whole_of_a_name_makes_it_the_querys(index, photos, tmp_path, capsys, caplog):
    """Of in/1.png and a/1.png one says nothing of the other; nor 13.png of 3.png."""
    other = tmp_path / "13.png"
    other.write_bytes((photos / "3.png").read_bytes())
    assert answer(flags(index, image=(other,), top=1, without_query=True), Compass()) == 0
    assert lines(capsys) == ["3.png\t1.0000"]
    assert caplog.messages == ["left out: nothing: no photograph of the query is in the index"]


def test_the_cache_of_another_encoder_is_refused_by_its_file(index):
    with pytest.raises(ValueError, match=rf"{index} was made by an encoder"):
        answer(flags(index, text=("north",)), Compass(Named(encoder(1), encoder_name="tiny")))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "nothing to look for: give --text, --image or --plus"),
        ({"minus": ("north",)}, "nothing to look for"),
        ({"text": ("north",), "top": 0}, "--top is 0; it must be at least 1"),
        ({"text": ("north",), "without_query": True}, "--image out, but there are none"),
        ({"text": ("north",), "picture": Path("a.png")}, "--picture and --photographs go toget"),
        ({"text": ("north",), "photographs": Path()}, "--picture and --photographs go together"),
        (
            {"text": ("a",), "picture": Path("a.jpg"), "photographs": Path()},
            "writes a .png file, not 'a.jpg'",
        ),
        (
            {"image": (Path(),), "picture": Path("a.png"), "photographs": Path(), "top": 500},
            "501 photographs with the query's; --picture holds 500",
        ),
    ],
)
def test_flags_that_make_no_sense_are_refused_before_any_work(given, message):
    with pytest.raises(ValueError, match=message):
        run(flags(Path("no.npy"), **given))


def test_photographs_must_be_a_folder(index, tmp_path):
    given = {"text": ("a",), "picture": tmp_path / "a.png", "photographs": tmp_path / "none"}
    with pytest.raises(NotADirectoryError, match="none: a folder of photographs was expected"):
        run(flags(index, **given))


def picture(index: Path, photos: Path, **given: object) -> tuple[int, np.ndarray]:
    """The exit code and the picture's pixels, ``(H, W, 3)``."""
    path = index.with_name("found.png")
    code = answer(flags(index, picture=path, photographs=photos, **given), Compass())
    with Image.open(path) as drawn:
        return code, np.asarray(drawn.convert("RGB"))


def coloured(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Each photograph in a colour of its own."""
    colours = dict(zip(PHOTOS, [(10, 200, 10), (10, 10, 200), (200, 200, 10), (10, 200, 200)]))
    for name, colour in colours.items():
        Image.new("RGB", (40, 20), colour).save(folder / name)
    return colours


def middle(pixels: np.ndarray, colour: tuple[int, int, int]) -> tuple[float, float]:
    """Where the colour is, as shares of height and width."""
    where = np.argwhere((np.abs(pixels.astype(int) - colour) < 8).all(2))
    assert len(where)
    return tuple((where.mean(0) / pixels.shape[:2]).tolist())


def test_the_picture_shows_the_query_above_what_is_found_in_order(index, photos):
    colours = coloured(photos)
    code, pixels = picture(index, photos, image=(photos / "0.png",), plus=("north",), top=4)
    assert code == 0
    left = {name: middle(pixels[pixels.shape[0] // 2 :], colours[name])[1] for name in PHOTOS}
    # (1, 1): 3.png, then 0.png and in/1.png alike, then in/2.png
    assert sorted(left, key=left.get) == ["3.png", "0.png", "in/1.png", "in/2.png"]
    above = pixels[: pixels.shape[0] // 2]
    assert middle(above, colours["0.png"])[1] < 0.2
    with pytest.raises(AssertionError):
        middle(above, colours["3.png"])


def test_a_missing_photograph_is_an_empty_frame_and_reported(index, photos, capsys):
    coloured(photos)
    (photos / "in" / "1.png").unlink()
    (photos / "3.png").write_bytes(b"no image")
    code, _ = picture(index, photos, text=("north",))
    assert code == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 4
    assert f"vl: error: {photos / 'in/1.png'}: No such file or directory\n" in err
    assert f"vl: error: {photos / '3.png'}: not an image" in err


def test_names_are_drawn_as_they_are(tmp_path, photos):
    """No formula, no command to a terminal, and letters that no font has, without a warning."""
    names = ["$x^{$.png", "\x1b[1m\n.png", "\u5b57\U0001f99c.png", "\udce4.png"]
    provenance = Provenance(
        "tiny", fingerprint(encoder()), "squash", "float32", ("plain",), Tiny.width
    )
    writer = EmbeddingWriter(tmp_path / "odd.npy", provenance)
    writer.add(names, torch.ones(len(names), 1, Tiny.width))
    writer.finish()
    code, _ = picture(tmp_path / "odd.npy", photos, text=("north", "$\\$ north " * 30))
    assert code == 1


def test_a_name_never_leads_out_of_the_folder(tmp_path, photos, capsys):
    provenance = Provenance(
        "tiny", fingerprint(encoder()), "squash", "float32", ("plain",), Tiny.width
    )
    writer = EmbeddingWriter(tmp_path / "odd.npy", provenance)
    outside = tmp_path / "outside.png"
    outside.write_bytes((photos / "0.png").read_bytes())
    writer.add([str(outside), "../outside.png"], torch.ones(2, 1, Tiny.width))
    writer.finish()
    code, _ = picture(tmp_path / "odd.npy", photos, text=("north",))
    assert code == 1
    expected = f"vl: error: {photos / 'outside.png'}: No such file or directory\n"
    assert capsys.readouterr().err == 2 * expected


def test_large_photographs_are_drawn_small(index, photos):
    Image.new("RGB", (1000, 10), (255, 0, 0)).save(photos / "0.png")
    small = thumbnail(photos / "0.png")
    assert small.shape == (3, 320, 3)
    assert small.reshape(-1, 3).min(0).tolist() == pytest.approx([1, 0, 0])
    Image.new("RGB", (7, 5)).save(photos / "3.png")
    assert thumbnail(photos / "3.png").shape == (5, 7, 3)


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)
    labeller(LabelSpace(words())).save(tmp_path / "labeller.safetensors")
    return tmp_path / "labeller.safetensors"


def embedded(model: Path, photos: Path) -> Path:
    """The cache that another command makes of the photographs, with the labeller's encoder."""
    held = Labeller.load(model)
    provenance = Provenance(
        "tiny", fingerprint(held.embedder.encoder), "squash", "float32", ("plain",), Tiny.width
    )
    writer = EmbeddingWriter(photos.with_suffix(".npy"), provenance)
    for name in PHOTOS:
        writer.add([name], held.embedder([photos / name]).mean(1)[:, None])
    writer.finish()
    return writer.path


def test_the_whole_command(model, photos, tmp_path, capsys):
    index, out = embedded(model, photos), tmp_path / "sheets" / "found.png"
    image = photos / "in" / "2.png"
    arguments = ["search", str(index), "--model", str(model), "--image", str(image)]
    assert main([*arguments, "--top", "3"]) == 0
    found = [line.split("\t") for line in lines(capsys)]
    assert found[0] == ["in/2.png", "1.0000"]
    assert len(found) == 3
    more = ["--minus", "east", "--plus", "stop signs", "north", "--without-query", "--json"]
    sheet = ["--picture", str(out), "--photographs", str(photos)]
    assert main([*arguments, *more, *sheet]) == 0
    stdout, stderr = capsys.readouterr()
    results = json.loads(stdout)["results"]
    held = Labeller.load(model)
    east, north, sign = (held.space.words[word] for word in ("east", "north", "stop_sign"))
    wanted = held.project(held.embedder([image]).mean(1))[0].numpy() - east + north + sign
    others = [name for name in PHOTOS if name != "in/2.png"]
    places = held.project(held.embedder([photos / name for name in others]).mean(1)).numpy()
    cosines = dict(zip(others, places @ wanted / np.linalg.norm(wanted), strict=True))
    assert [each["name"] for each in results] == sorted(others, key=cosines.get, reverse=True)
    for each in results:
        assert each["cosine"] == pytest.approx(cosines[each["name"]], abs=1e-3)  # float16
    assert stderr.splitlines() == [
        "vl: stop signs: as their plural or singular: stop_sign",
        "vl: left out: in/2.png",
        f"vl: 4 photographs in {out}",
    ]
    assert out.is_file()


def test_mistakes_are_one_line(model, photos, tmp_path, capsys):
    index = embedded(model, photos)
    base = ["search", str(index), "--model", str(model)]
    assert main([*base, "--text", "qqq"]) == 2
    assert capsys.readouterr() == ("", "vl: error: no word vector for 'qqq'\n")
    assert main([*base, "--image", str(photos / "gone.png")]) == 2
    expected = f"vl: error: {photos / 'gone.png'}: No such file or directory\n"
    assert capsys.readouterr() == ("", expected)
    assert main(["search", str(photos), "--model", str(index), "--text", "a"]) == 2
    assert capsys.readouterr().err.startswith(f"vl: error: {index}: not a")
