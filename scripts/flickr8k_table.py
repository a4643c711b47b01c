"""What each means brings on Flickr8k's development split, from what reproduce_flickr8k.sh left.

    python scripts/flickr8k_table.py DATA OUT

It reads OUT's embeddings and captioners and prints a row a setting: BLEU-1, BLEU-4, how many of the
captions are distinct, and their length over the references'.
"""

import argparse
from pathlib import Path

from data import embeddings
from data.captions import read_captions
from data.tokens import words
from vl.caption_search import Search
from vl.captioner import Captioner
from vl.metrics.bleu import corpus_bleu

SEEDS = (1, 2, 3)
WIDE = Search(beam=12, order="consensus")
# What is shown, how many decoders vote, and the search, each row with one thing more than another.
SETTINGS: tuple[tuple[str, int, bool, Search], ...] = (
    ("one decoder, beam 3, as it is", 1, False, Search(beam=3)),
    ("and mirrored", 1, True, Search(beam=3)),
    ("beam 1", 1, True, Search(beam=1)),
    ("beam 5", 1, True, Search(beam=5)),
    ("beam 12", 1, True, Search(beam=12)),
    ("length power 0.5", 1, True, Search(beam=3, length_power=0.5)),
    ("length power 1", 1, True, Search(beam=3, length_power=1.0)),
    ("beam 12, consensus", 1, True, WIDE),
    ("beam 20, consensus", 1, True, Search(beam=20, order="consensus")),
    ("two decoders, beam 3", 2, True, Search(beam=3)),
    ("three decoders, beam 3", 3, True, Search(beam=3)),
    ("two decoders, beam 12, consensus", 2, True, WIDE),
    ("three decoders, beam 12, consensus", 3, True, WIDE),
)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    flags = parser.parse_args()
    flickr = flags.data / "flickr8k"
    development = read_captions(
        flickr / "Flickr8k.token.txt", images=flickr / "Flickr_8k.devImages.txt"
    )
    references = [[words(caption) for caption in image.captions] for image in development]
    held = embeddings.load(flags.out / "embeddings.npy")
    vectors = held.of([image.file_name for image in development])  # (images, views, D)
    bundles = [flags.out / f"seed-{seed}" / "captioner.safetensors" for seed in SEEDS]
    print("| setting | BLEU-1 | BLEU-4 | distinct | length |\n|---|---|---|---|---|")
    for name, decoders, mirrored, search in SETTINGS:
        captioner = Captioner.load(*bundles[:decoders])
        shown = vectors.mean(1) if mirrored else vectors[:, held.making.views.index("plain")]
        texts = [
            captions[0].text
            for begin in range(0, len(shown), 250)
            for captions in captioner.describe(shown[begin : begin + 250], search=search)
        ]
        bleu = corpus_bleu([text.split() for text in texts], references)
        length = bleu.counts.candidate_length / bleu.counts.reference_length
        print(
            f"| {name} | {100 * bleu.scores[0]:.1f} | {100 * bleu.scores[3]:.1f} "
            f"| {100 * len(set(texts)) / len(texts):.1f} % | {length:.3f} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
