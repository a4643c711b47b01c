"""What each means brings on Flickr8k's development split, from what reproduce_flickr8k.sh left.

    python scripts/flickr8k_table.py DATA OUT

It reads OUT's embeddings and captioners and prints a row a setting: BLEU-1, BLEU-4, how many of the
captions are distinct, and their length over the references'.
"""

import argparse
from pathlib import Path

from vl.captioning.captioner import Captioner
from vl.captioning.search import Search
from vl.data import embeddings
from vl.data.captions.captions import read_captions
from vl.data.captions.ptb.tokens import words
from vl.metrics.bleu import corpus_bleu

ONE, TWO = ("seed-1",), ("seed-1", "seed-2")
WIDE = Search(beam=12, order="consensus")
# What the row is called, whose votes count, whether the mirror image is shown too, and the search.
SETTINGS: tuple[tuple[str, tuple[str, ...], bool, Search], ...] = (
    ("one decoder, beam 3, not mirrored", ONE, False, Search(beam=3)),
    ("one decoder, beam 3", ONE, True, Search(beam=3)),
    ("beam 1", ONE, True, Search(beam=1)),
    ("beam 12", ONE, True, Search(beam=12)),
    ("beam 3, length power 0.5", ONE, True, Search(beam=3, length_power=0.5)),
    ("beam 3, length power 1", ONE, True, Search(beam=3, length_power=1.0)),
    ("beam 12, consensus", ONE, True, WIDE),
    ("beam 20, consensus", ONE, True, Search(beam=20, order="consensus")),
    ("another decoder, beam 12, consensus", ("seed-2",), True, WIDE),
    ("both, beam 3", TWO, True, Search(beam=3)),
    ("both, beam 12, consensus", TWO, True, WIDE),
    ("one tuned, beam 3", ("tuned-1",), True, Search(beam=3)),
    ("one tuned, beam 12, consensus", ("tuned-1",), True, WIDE),
    ("**both tuned, beam 12, consensus**", ("tuned-1", "tuned-2"), True, WIDE),
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
    print("| setting | BLEU-1 | BLEU-4 | distinct | length |\n|---|---|---|---|---|")
    for name, folders, mirrored, search in SETTINGS:
        captioner = Captioner.load(
            *(flags.out / each / "captioner.safetensors" for each in folders)
        )
        shown = vectors.mean(1) if mirrored else vectors[:, held.provenance.views.index("plain")]
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
