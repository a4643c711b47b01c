"""A tiny encoder, a captioner with it, and drawings."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms.v2.functional import to_pil_image

from tests.helpers.shapes import draw_shape
from vl.captioning.captioner import Captioner
from vl.captioning.search import SearchSettings
from vl.data.captions.vocabulary import Vocabulary
from vl.decoders.show_and_tell import ShowAndTell
from vl.encoding.embedder import Embedder

WORDS = ("a", "red", "green", "blue", "ball", "box", "ring", "on", "the", "grass", "sand")


class Tiny(nn.Module):
    """An encoder of a few hundred parameters, with a classifier the embedding does not use."""

    width = 12
    image_size = 16

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.5))
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, self.width, 3, stride=2)
        )
        self.classifier = nn.Linear(self.width, 5)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.body(pixels - self.mean).flatten(2).mean(2)


def encoder(seed: int = 0) -> Tiny:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Tiny()


def decoder(seed: int = 0, *, words: int = len(WORDS) + 3, width: int = Tiny.width) -> ShowAndTell:
    """A decoder with large weights: at initialization all words are nearly equally likely."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ShowAndTell(
            image_width=width, vocabulary_size=words, embedding_size=8, hidden_size=8
        )
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=1.5)
        if width == Tiny.width:  # else an untrained encoder hardly tells drawings apart
            with torch.no_grad():
                model.standardize(
                    encoder()(torch.stack([draw_shape(n, side=16)[0] for n in range(9)]))
                )
    return model.eval()


def embedder(seed: int = 0, **settings: Any) -> Embedder:
    """An embedder of a tiny encoder, or of the ``encoder`` among the settings."""
    network = settings.pop("encoder", None) or encoder(seed)
    return Embedder(network, **{"encoder_name": "tiny", **settings})


def captioner(
    seed: int = 0,
    *,
    decoders: Sequence[ShowAndTell] | None = None,
    vocabulary: Vocabulary | None = None,
    search: SearchSettings | None = None,
    training: dict[str, Any] | None = None,
    **settings: Any,
) -> Captioner:
    """A captioner; further settings are those of ``embedder``."""
    return Captioner(
        embedder(**settings),
        [decoder(seed)] if decoders is None else decoders,
        vocabulary or Vocabulary(WORDS),
        search=search or SearchSettings(num_beams=3, max_length=8),
        training=training,
    )


def drawings(folder: Path, count: int, *, side: int = 24) -> list[Path]:
    """Write drawings as 0.png, 1.png, ... into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed}.png" for seed in range(count)]
    for seed, path in enumerate(paths):
        to_pil_image(draw_shape(seed, side=side).pixels).save(path)
    return paths


def alter(path: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], Any]) -> None:
    """Rewrite a model file after ``change`` of its configuration and tensors."""
    with safe_open(path, framework="pt") as file:
        configuration = json.loads(file.metadata()["vl"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no dict
    change(configuration, tensors)
    save_file(tensors, path, metadata={"vl": json.dumps(configuration)})
