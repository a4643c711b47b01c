"""All caption scores, beside pycocoevalcap's."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.timing import spread
from vl.data.captions.captions import read_captions

IMAGES, REFERENCES = (5_000, 40_000), 5  # of COCO's two validation sets
# Each child prints its memory: what the system says of a child begins with its parent's.
MEMORY = """
def report(**said):
    with open("/proc/self/status") as status:
        most = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    print(json.dumps({**said, "MiB": most // 1024}))
"""
COMMAND = f"""
import json, sys
from vl.__main__ import main
{MEMORY}
assert main(sys.argv[1:]) == 0
report()
"""
# Both read the same files, then tokenise and score; the seconds of that are printed beside the
# scores. The judge is called as its users call it.
READING = f"""
import contextlib, json, sys, time
{MEMORY}
results, references = (json.load(open(path)) for path in sys.argv[1:])
true, said = {{}}, {{}}
for record in references["annotations"]:
    true.setdefault(record["image_id"], []).append(record)
for record in results:
    said[record["image_id"]] = [record]
"""
OURS = f"""{READING}
from vl.evaluation import Evaluator
begin = time.perf_counter()
evaluated = Evaluator([[each["caption"] for each in image] for image in true.values()])(
    [said[image][0]["caption"] for image in true]
)
scores = {{score.name: score.corpus for score in evaluated.scores}}
report(scores=scores, seconds=time.perf_counter() - begin)
"""
THEIRS = f"""{READING}
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
begin = time.perf_counter()
with contextlib.redirect_stdout(sys.stderr):
    true, said = PTBTokenizer().tokenize(true), PTBTokenizer().tokenize(said)
    bleu, _ = Bleu(4).compute_score(true, said)
    scores = {{f"BLEU-{{size}}": value for size, value in enumerate(bleu, 1)}}
    scores["ROUGE-L"], scores["CIDEr-D"] = (
        float(judge.compute_score(true, said)[0]) for judge in (Rouge(), Cider())
    )
report(scores=scores, seconds=time.perf_counter() - begin)
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    parser.add_argument("captions", type=Path, nargs="+", help="COCO's or Flickr8k's files")
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES)
    parser.add_argument("--rounds", type=int, default=3)


def figures(flags: argparse.Namespace) -> dict[str, Any]:
    """Seconds for words and BLEU, ROUGE-L and CIDEr-D, and memory: ours and pycocoevalcap's.

    Each is a process of its own and counts from captions as strings; Java's start is counted for
    pycocoevalcap, and for us the making of the tokeniser. The processes' whole times are given too,
    and that of the command, which also reads flags and checks the files. Where more images are
    asked for than the files have, they are gone through again under other ids.
    """
    described = [
        image.captions[:REFERENCES]
        for path in flags.captions
        for image in read_captions(path)
        if len(image.captions) >= REFERENCES
    ]
    found: dict[str, Any] = {"images in the files": len(described)}
    for count in flags.images:
        with tempfile.TemporaryDirectory() as folder:
            results, references = str(Path(folder, "results")), str(Path(folder, "references"))
            write_task(described, count, Path(results), Path(references))
            python, of_both = sys.executable, [results, references]
            command = ["evaluate", results, "--references", references]
            commands = {
                "ours": [python, "-c", OURS, *of_both],
                "theirs": [python, "-c", THEIRS, *of_both],
                "vl evaluate": [python, "-c", COMMAND, *command, "--resamples", "0"],
            }
            found[f"{count} images"] = compared(commands, flags.rounds, count)
    return found


def write_task(
    described: list[tuple[str, ...]], count: int, results: Path, references: Path
) -> None:
    """Images with their captions, and as results a caption of each without every fourth word."""
    images: list[Any] = []
    annotations: list[Any] = []
    candidates: list[Any] = []
    for number in range(count):
        captions = described[number % len(described)]
        images.append({"id": number, "file_name": f"{number}.jpg"})
        for caption in captions:
            record = {"id": len(annotations), "image_id": number, "caption": caption}
            annotations.append(record)
        kept = [word for place, word in enumerate(captions[0].split()) if place % 4 != 3]
        candidates.append({"image_id": number, "caption": " ".join(kept)})
    results.write_text(json.dumps(candidates))
    references.write_text(json.dumps({"images": images, "annotations": annotations}))


def compared(commands: dict[str, list[str]], rounds: int, count: int) -> dict[str, Any]:
    """Commands in turn: seconds, memory, and how far our scores are from the judge's."""
    whole: dict[str, list[float]] = {name: [] for name in commands}
    scoring: dict[str, list[float]] = {"ours": [], "theirs": []}
    memory = dict.fromkeys(commands, 0)
    scores: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for name, command in commands.items():
            begin = time.perf_counter()
            child = subprocess.run(command, capture_output=True, check=False)
            if child.returncode:
                raise SystemExit(f"{name} ended with exit code {child.returncode}")
            whole[name].append(time.perf_counter() - begin)
            said = json.loads(child.stdout.splitlines()[-1])
            memory[name] = max(memory[name], said["MiB"])
            if name in scoring:
                scoring[name].append(said["seconds"])
                scores[name] = said["scores"]
    middle = {name: statistics.median(seconds) for name, seconds in scoring.items()}
    return {
        "theirs / ours": round(middle["theirs"] / middle["ours"], 2),
        "ours, microseconds a caption": round(1e6 * middle["ours"] / count / (REFERENCES + 1), 2),
        "seconds": {name: spread(seconds, 2) for name, seconds in scoring.items()},
        "seconds of the process": {name: spread(seconds, 2) for name, seconds in whole.items()},
        "MiB at most, without Java's": memory,
        "greatest difference of a score": max(
            abs(scores["ours"][name] - value) for name, value in scores["theirs"].items()
        ),
    }
