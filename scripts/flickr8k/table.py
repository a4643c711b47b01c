"""Ablations on Flickr8k's development split, from the results of scripts/flickr8k/run.sh.

    python scripts/flickr8k/table.py DATA OUTPUT

Reads the embeddings and captioners in OUTPUT and prints a row for each setting: BLEU-1, BLEU-4,
the share of distinct captions, and the ratio of the captions' length to the references'.
"""

from pathlib import Path

import tyro

from vl.captioning.captioner import Captioner
from vl.captioning.search import SearchSettings
from vl.data.captions.captions import read_captions
from vl.data.captions.ptb.tokens import words
from vl.data.embeddings import load_embeddings
from vl.metrics.bleu import corpus_bleu

ONE, TWO = ("seed-1",), ("seed-1", "seed-2")
WIDE = SearchSettings(num_beams=12, rank_by="minimum-bayes-risk")
WIDEST = SearchSettings(num_beams=20, rank_by="minimum-bayes-risk")
# Name of the row, folders of the ensemble, whether the flipped view is used too, search settings.
SETTINGS: tuple[tuple[str, tuple[str, ...], bool, SearchSettings], ...] = (
    ("one decoder, beam 3, without the flipped view", ONE, False, SearchSettings(num_beams=3)),
    ("one decoder, beam 3", ONE, True, SearchSettings(num_beams=3)),
    ("beam 1", ONE, True, SearchSettings(num_beams=1)),
    ("beam 12", ONE, True, SearchSettings(num_beams=12)),
    ("beam 3, length penalty 0.5", ONE, True, SearchSettings(num_beams=3, length_penalty=0.5)),
    ("beam 3, length penalty 1", ONE, True, SearchSettings(num_beams=3, length_penalty=1.0)),
    ("beam 12, minimum Bayes risk", ONE, True, WIDE),
    ("beam 20, minimum Bayes risk", ONE, True, WIDEST),
    ("another decoder, beam 12, minimum Bayes risk", ("seed-2",), True, WIDE),
    ("both, beam 3", TWO, True, SearchSettings(num_beams=3)),
    ("both, beam 12, minimum Bayes risk", TWO, True, WIDE),
    ("one tuned, beam 3", ("tuned-1",), True, SearchSettings(num_beams=3)),
    ("one tuned, beam 12, minimum Bayes risk", ("tuned-1",), True, WIDE),
    ("**both tuned, beam 12, minimum Bayes risk**", ("tuned-1", "tuned-2"), True, WIDE),
)


@tyro.conf.configure(tyro.conf.PositionalRequiredArgs, tyro.conf.PositionalMetavarFromFieldName)
def main(data: Path, output: Path) -> int:
    """Print the table."""
    flickr = data / "flickr8k"
    development = read_captions(
        flickr / "Flickr8k.token.txt", images=flickr / "Flickr_8k.devImages.txt"
    )
    references = [[words(caption) for caption in image.captions] for image in development]
    cache = load_embeddings(output / "embeddings.npy")
    vectors = cache.select([image.file_name for image in development])  # (images, views, D)
    print("| setting | BLEU-1 x 100 | BLEU-4 x 100 | distinct | length |\n|---|---|---|---|---|")
    for name, folders, flipped, search in SETTINGS:
        captioner = Captioner.load(*(output / each / "captioner.safetensors" for each in folders))
        inputs = vectors.mean(1) if flipped else vectors[:, cache.provenance.views.index("plain")]
        texts = [
            captions[0].text
            for begin in range(0, len(inputs), 250)
            for captions in captioner.describe(inputs[begin : begin + 250], search=search)
        ]
        bleu = corpus_bleu([text.split() for text in texts], references)
        length = bleu.candidate_length / bleu.reference_length
        print(
            f"| {name} | {100 * bleu.scores[0]:.1f} | {100 * bleu.scores[3]:.1f} "
            f"| {100 * len(set(texts)) / len(texts):.1f} % | {length:.3f} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(tyro.cli(main))
