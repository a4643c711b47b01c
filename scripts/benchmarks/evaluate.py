"""All caption scores, beside pycocoevalcap."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.timing import Target, spread
from vl.data.captions.captions import read_captions

IMAGES, REFERENCES = (5_000, 40_000), 5  # of COCO's two validation sets
# Each process prints its own peak memory: the system's figure for a child starts at its parent's.
MEMORY = """
def report(**results):
    with open("/proc/self/status") as status:
        most = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    print(json.dumps({**results, "MiB": most // 1024}))
"""
COMMAND = f"""
import json, sys
from vl.__main__ import main
{MEMORY}
assert main(sys.argv[1:]) == 0
report()
"""
# Both read the same files, then tokenize and score; the seconds of that are printed beside the
# scores. pycocoevalcap is called as its users call it.
READING = f"""
import contextlib, json, sys, time
{MEMORY}
results, references = (json.load(open(path)) for path in sys.argv[1:])
references_of, candidates = {{}}, {{}}
for record in references["annotations"]:
    references_of.setdefault(record["image_id"], []).append(record)
for record in results:
    candidates[record["image_id"]] = [record]
"""
OURS = f"""{READING}
from vl.metrics.evaluator import Evaluator
begin = time.perf_counter()
captions = [[each["caption"] for each in image] for image in references_of.values()]
evaluated = Evaluator(captions, fraction=True)(
    [candidates[image][0]["caption"] for image in references_of]
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
    references_of = PTBTokenizer().tokenize(references_of)
    candidates = PTBTokenizer().tokenize(candidates)
    bleu, _ = Bleu(4).compute_score(references_of, candidates)
    scores = {{f"BLEU-{{size}}": value for size, value in enumerate(bleu, 1)}}
    scores["ROUGE-L"], scores["CIDEr-D"] = (
        float(metric.compute_score(references_of, candidates)[0]) for metric in (Rouge(), Cider())
    )
report(scores=scores, seconds=time.perf_counter() - begin)
"""
TARGETS = (Target("*.ratio", minimum=10), Target("*.MiB.ours", maximum=1024))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this benchmark."""
    parser.add_argument("captions", type=Path, nargs="+", help="COCO's or Flickr8k's files")
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES)
    parser.add_argument("--rounds", type=int, default=3)


def measure(flags: argparse.Namespace) -> dict[str, Any]:
    """Seconds of tokenization, BLEU, ROUGE-L and CIDEr-D, and memory: ours and pycocoevalcap's.

    Each is a process of its own and starts from strings; Java's start counts for pycocoevalcap, and
    building the tokenizer for us. The whole processes are timed too, and the command, which also
    parses flags and checks the files. If there are fewer images than asked for, they are repeated
    under other ids.
    """
    images = [
        image.captions[:REFERENCES]
        for path in flags.captions
        for image in read_captions(path)
        if len(image.captions) >= REFERENCES
    ]
    results: dict[str, Any] = {"images in the files": len(images)}
    for count in flags.images:
        with tempfile.TemporaryDirectory() as folder:
            files = [str(Path(folder, "results")), str(Path(folder, "references"))]
            write_task(images, count, Path(files[0]), Path(files[1]))
            python = sys.executable
            command = ["evaluate", files[0], "--references", files[1]]
            commands = {
                "ours": [python, "-c", OURS, *files],
                "theirs": [python, "-c", THEIRS, *files],
                "vl evaluate": [python, "-c", COMMAND, *command, "--num-resamples", "0"],
            }
            results[f"{count} images"] = compared(commands, flags.rounds, count)
    return results


def write_task(
    described: list[tuple[str, ...]], count: int, results: Path, references: Path
) -> None:
    """Write references, and as results one caption of each image without every fourth word."""
    images: list[Any] = []
    annotations: list[Any] = []
    candidates: list[Any] = []
    for image_id in range(count):
        captions = described[image_id % len(described)]
        images.append({"id": image_id, "file_name": f"{image_id}.jpg"})
        for caption in captions:
            record = {"id": len(annotations), "image_id": image_id, "caption": caption}
            annotations.append(record)
        words = [word for index, word in enumerate(captions[0].split()) if index % 4 != 3]
        candidates.append({"image_id": image_id, "caption": " ".join(words)})
    results.write_text(json.dumps(candidates))
    references.write_text(json.dumps({"images": images, "annotations": annotations}))


def compared(commands: dict[str, list[str]], rounds: int, count: int) -> dict[str, Any]:
    """Commands in turn: seconds, memory, and the largest difference from pycocoevalcap's scores."""
    whole: dict[str, list[float]] = {name: [] for name in commands}
    scoring: dict[str, list[float]] = {"ours": [], "theirs": []}
    memory = dict.fromkeys(commands, 0)
    scores: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for name, command in commands.items():
            begin = time.perf_counter()
            child = subprocess.run(command, capture_output=True, check=False)
            if child.returncode:
                raise SystemExit(f"{name} failed with exit code {child.returncode}")
            whole[name].append(time.perf_counter() - begin)
            report = json.loads(child.stdout.splitlines()[-1])
            memory[name] = max(memory[name], report["MiB"])
            if name in scoring:
                scoring[name].append(report["seconds"])
                scores[name] = report["scores"]
    median = {name: statistics.median(seconds) for name, seconds in scoring.items()}
    return {
        "ratio": round(median["theirs"] / median["ours"], 2),
        "microseconds per caption": round(1e6 * median["ours"] / count / (REFERENCES + 1), 2),
        "seconds": {name: spread(seconds, 2) for name, seconds in scoring.items()},
        "process_seconds": {name: spread(seconds, 2) for name, seconds in whole.items()},
        "MiB": memory,
        "largest_score_difference": max(
            abs(scores["ours"][name] - value) for name, value in scores["theirs"].items()
        ),
    }
