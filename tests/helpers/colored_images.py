"""Photographs of one colour each, in folders called by it: labels that anything can learn."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import to_pil_image

from tests.helpers.tiny_captioner import Tiny, captioner, encoder
from tests.helpers.tiny_labeller import units

COLOURS = {
    "red": (0.9, 0.1, 0.1),
    "green": (0.1, 0.7, 0.1),
    "blue": (0.1, 0.1, 0.9),
    "yellow": (0.9, 0.9, 0.1),
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
    "cyan": (0.1, 0.9, 0.9),
    "pink": (0.9, 0.4, 0.7),
}
WIDTH = 6  # of word space
IDS = {name: f"n0000000{number}" for number, name in enumerate(COLOURS)}


def picture(name: str, seed: int, *, side: int = 16) -> Tensor:
    """A colour with some noise, ``(3, side, side)``."""
    generator = torch.Generator().manual_seed(seed)
    noise = 0.05 * torch.randn(3, side, side, generator=generator)
    return (torch.tensor(COLOURS[name])[:, None, None] + noise).clamp(0, 1)


def folders(
    place: Path, names: Sequence[str] = tuple(COLOURS), *, count: int = 4, first: int = 0
) -> Path:
    """A folder for each colour, with 0.png, 1.png, ... in it."""
    for name in names:
        (place / name).mkdir(parents=True, exist_ok=True)
        for seed in range(first, first + count):
            to_pil_image(picture(name, seed)).save(place / name / f"{seed}.png")
    return place


def listed(path: Path, folder: Path) -> Path:
    """A list of the photographs in folders of colours, by WordNet's ids."""
    files = sorted(folder.glob("*/*.png"))
    lines = [f"{file.relative_to(path.parent)}\t{IDS[file.parent.name]}\n" for file in files]
    path.write_text("".join(lines))
    return path


def words(path: Path, names: Sequence[str] = tuple(COLOURS), *, width: int = WIDTH) -> Path:
    """Vectors of words, in word2vec's text format."""
    rows = units(len(names), width, seed=5).tolist()
    lines = [f"{name} {' '.join(map(repr, row))}" for name, row in zip(names, rows, strict=True)]
    path.write_text("\n".join([f"{len(names)} {width}", *lines]) + "\n")
    return path


def wordnet(place: Path) -> Path:
    """A WordNet in which every colour is a kind of colour."""
    place.mkdir(exist_ok=True)
    synsets = {"n00000009": "colour", **{each: name for name, each in IDS.items()}}
    (place / "words.txt").write_text("".join(f"{i}\t{text}\n" for i, text in synsets.items()))
    (place / "is_a.txt").write_text("".join(f"n00000009 {each}\n" for each in IDS.values()))
    return place


def weights(path: Path) -> Path:
    """An encoder whose classifier tells the first five colours apart, in a captioner's file."""
    named = list(COLOURS)[: Tiny().classifier.out_features]
    made = encoder()
    with torch.no_grad():
        given = torch.cat(
            [made(torch.stack([picture(n, 90 + s) for s in range(4)])) for n in named]
        )
        wanted = 30 * torch.eye(len(named)).repeat_interleave(4, 0) - 15
        found = torch.linalg.lstsq(nn.functional.pad(given, (0, 1), value=1.0), wanted).solution
        made.classifier.weight.copy_(found[:-1].T)
        made.classifier.bias.copy_(found[-1])
    captioner(encoder=made).save(path)
    return path
