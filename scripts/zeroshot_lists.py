"""The lists of photographs for labels that nothing was trained on: scripts/reproduce_zeroshot.sh.

    python scripts/zeroshot_lists.py DATA OUT

scripts/zeroshot/held_out.txt names the 200 of ImageNet's 1,000 classes that are held out: those of
Python's random.Random(0).sample(range(1000), 200), in the classifier's order. caltech101.tsv says
what each of Caltech-101's folders shows, and whether that is one of the 1,000, near one (it shares
a word with one, or is a kind of it, or the reverse), or neither.
"""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from vl.data.files import write_text
from vl.data.words.wordnet import WordNet

HERE = Path(__file__).resolve().parent / "zeroshot"
EACH_CLASS = ("imagenet_1each", "imagenet_5each")


def main() -> int:
    """Write train.txt, unseen.txt, seen.txt and caltech.txt, and say how many stand in each."""
    if len(sys.argv) != 3:
        print("usage: python scripts/zeroshot_lists.py DATA OUT", file=sys.stderr)
        return 2
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    wordnet = WordNet.read(folder / "wordnet/words.txt", is_a=folder / "wordnet/is_a.txt")
    held_out = wordnet.read_list(HERE / "held_out.txt")
    lists: dict[str, list[str]] = {"train": [], "unseen": [], "seen": [], "caltech": []}
    for name in EACH_CLASS:
        photographs = names(folder / name)
        for place, photograph in enumerate(photographs):
            label = photograph.partition("_")[0]
            # Of five photographs of a class, the last is kept to judge by.
            following = photographs[place + 1] if place + 1 < len(photographs) else ""
            last = name == EACH_CLASS[1] and not following.startswith(label)
            use = "unseen" if label in held_out else "seen" if last else "train"
            lists[use].append(f"{photograph}\t{label}")
    close = near(held_out, wordnet)
    left_out = []
    for line in (HERE / "caltech101.tsv").read_text(encoding="utf-8").splitlines():
        name, use, label = line.split("\t")
        if use == "unused":  # clutter, a proper name, or nothing that WordNet has
            continue
        photographs = names(folder / "caltech101" / name)
        if use != "unseen" and (label in held_out or close(label)):
            left_out.append(name)
            continue
        target = lists["caltech" if use == "unseen" else "train"]
        target += [f"{name}/{photograph}\t{label}" for photograph in photographs]
    for name, lines in lists.items():
        write_text(out / f"{name}.txt", "\n".join(lines) + "\n")
        labels = len({line.partition("\t")[2] for line in lines})
        print(f"{name}.txt: {len(lines)} photographs of {labels} labels")
    print(f"left out, as near a label that is held out: {', '.join(left_out)}")
    return 0


def names(folder: Path) -> list[str]:
    """The photographs of a folder."""
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".jpg")


def near(held_out: Sequence[str], wordnet: WordNet) -> Callable[[str], bool]:
    """Whether a label is near one of these."""
    words = {word for name in held_out for word in words_of(", ".join(wordnet.words(name)))}
    around = {each for name in held_out for each in wordnet.ancestors(name)}
    around |= {each for name in held_out for each in wordnet.descendants(name)}
    around |= set(held_out)
    named = {word.casefold() for each in around for word in wordnet.words(each)}

    def close(label: str) -> bool:
        if label in wordnet:
            return label in around or bool(words_of(wordnet.words(label)[0]) & words)
        terms = {term.strip() for term in label.split(",")}
        return bool(words_of(label) & words or terms & named)

    return close


def words_of(label: str) -> set[str]:
    """The words of a label, without an s at their end."""
    return {word.removesuffix("s") for word in re.findall(r"[a-z]+", label.casefold())}


if __name__ == "__main__":
    raise SystemExit(main())
