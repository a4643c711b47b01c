"""Top-1 and top-5 of GoogLeNet with BVLC's weights on photographs named by their synset.

    python scripts/imagenet_accuracy.py FOLDER --weights bvlc_googlenet.safetensors \
        --classes synset_words.txt

Each file's name begins with its class, ``n01440764_tench.jpg``; ``--classes`` has the classes in
the classifier's order, one a line. One centre crop of 224 pixels, the shorter side 224 before.
"""

import argparse
from pathlib import Path

import torch

from vl.data.images.decode import decode, find, square
from vl.encoders.inception import inception_v1
from vl.encoders.weights import load_caffe

_BATCH = 32


def main() -> int:
    """Print both figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--classes", type=Path, required=True)
    flags = parser.parse_args()
    lines = flags.classes.read_text(encoding="utf-8").splitlines()
    row = {line.split()[0]: index for index, line in enumerate(lines)}
    files = find([flags.folder])
    labels = torch.tensor([row[path.name.split("_")[0]] for path in files])
    encoder = inception_v1().eval().to(memory_format=torch.channels_last)
    load_caffe(encoder, flags.weights)
    right = []
    for begin in range(0, len(files), _BATCH):
        pixels = torch.stack([square(decode(path), 224) for path in files[begin : begin + _BATCH]])
        with torch.inference_mode():
            logits = encoder.classify(pixels.contiguous(memory_format=torch.channels_last)).main
        right.append(logits.topk(5).indices == labels[begin : begin + _BATCH, None])  # (B, 5)
    every = torch.cat(right)
    print(f"photographs {len(files)}")
    print(f"top-1 {100 * every[:, 0].float().mean().item():.1f}")
    print(f"top-5 {100 * every.any(1).float().mean().item():.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
