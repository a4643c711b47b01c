"""Lists of images for the zero-shot study, scripts/zeroshot/run.sh.

    python scripts/zeroshot/lists.py DATA OUTPUT

held_out.txt names the 200 held-out classes of ImageNet's 1,000: Python's
random.Random(0).sample(range(1000), 200), in the classifier's order. caltech101.tsv maps each
folder of Caltech-101 to a label, and marks whether that is one of the 1,000 classes, close to one
(it shares a word with one, or is its hyponym or hypernym), or neither.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import tyro

from vl.data.files import write_text
from vl.data.words.wordnet import WordNet

FOLDER = Path(__file__).resolve().parent
IMAGENET = ("imagenet_1each", "imagenet_5each")


@tyro.conf.configure(tyro.conf.PositionalRequiredArgs, tyro.conf.PositionalMetavarFromFieldName)
def main(data: Path, output: Path) -> int:
    """Write train.txt, unseen.txt, seen.txt and caltech.txt, and print their sizes."""
    wordnet = WordNet.load(data / "wordnet")
    held_out = wordnet.read_list(FOLDER / "held_out.txt")
    lists: dict[str, list[str]] = {"train": [], "unseen": [], "seen": [], "caltech": []}
    for folder in IMAGENET:
        images = image_names(data / folder)
        for image, following in zip(images, [*images[1:], ""], strict=True):
            label = image.partition("_")[0]
            # The last of the five images of a class is for testing.
            last = folder == IMAGENET[1] and not following.startswith(label)
            split = "unseen" if label in held_out else "seen" if last else "train"
            lists[split].append(f"{image}\t{label}")
    is_close = closeness(held_out, wordnet)
    excluded = []
    for line in (FOLDER / "caltech101.tsv").read_text(encoding="utf-8").splitlines():
        folder, split, label = line.split("\t")
        if split == "unused":  # clutter, a proper name, or not in WordNet
            continue
        images = image_names(data / "caltech101" / folder)
        if split != "unseen" and (label in held_out or is_close(label)):
            excluded.append(folder)
            continue
        lines = lists["caltech" if split == "unseen" else "train"]
        lines += [f"{folder}/{image}\t{label}" for image in images]
    for split, lines in lists.items():
        write_text(output / f"{split}.txt", "\n".join(lines) + "\n")
        num_labels = len({line.partition("\t")[2] for line in lines})
        print(f"{split}.txt: {len(lines)} images of {num_labels} labels")
    print(f"excluded, as close to a held-out label: {', '.join(excluded)}")
    return 0


def image_names(folder: Path) -> list[str]:
    """The images of a folder, sorted."""
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".jpg")


def closeness(held_out: Sequence[str], wordnet: WordNet) -> Callable[[str], bool]:
    """A function that tells whether a label is close to a held-out one."""
    words = {word for name in held_out for word in words_of(", ".join(wordnet.words(name)))}
    related = {synset for name in held_out for synset in wordnet.ancestors(name)}
    related |= {synset for name in held_out for synset in wordnet.descendants(name)}
    related |= set(held_out)
    related_words = {word.casefold() for synset in related for word in wordnet.words(synset)}

    def is_close(label: str) -> bool:
        if label in wordnet:
            return label in related or bool(words_of(wordnet.words(label)[0]) & words)
        terms = {term.strip() for term in label.split(",")}
        return bool(words_of(label) & words or terms & related_words)

    return is_close


def words_of(label: str) -> set[str]:
    """The words of a label, without a final s."""
    return {word.removesuffix("s") for word in re.findall(r"[a-z]+", label.casefold())}


if __name__ == "__main__":
    raise SystemExit(tyro.cli(main))
