"""Speed, measured side by side in one run: each benchmark prints one JSON line.

    python scripts/benchmark.py embed PHOTOGRAPHS --weights bvlc_googlenet.safetensors
    python scripts/benchmark.py search
    python scripts/benchmark.py evaluate CAPTIONS

Machines differ and drift, so the figures to quote are the ratios.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor

from data.captions import read_captions
from data.images import decode, find, square
from decoders.beam_search import State, beam_search
from decoders.show_and_tell import ShowAndTell
from vl import __version__
from vl.devices import bfloat16_pays
from vl.extractor import Extractor
from vl.trained_encoder import trained_encoder

# The search's setting: im2txt's widths and greatest length, a vocabulary of COCO's size.
VOCABULARY, WIDTH, STEPS = 12_000, 512, 20
BEAMS, BATCHES = (1, 3, 20), (1, 64, 256)
START, END = 0, 1
IMAGES, REFERENCES = (5_000, 40_000), 5  # of COCO's two validation sets
LARGE_ROWS = 2_000  # rows from which once is enough: such a search takes many seconds on a CPU
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


def main() -> int:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    names = parser.add_subparsers(dest="name", required=True)
    embed = names.add_parser("embed", help="photographs to embeddings, beside torchvision")
    embed.add_argument("photographs", type=Path, nargs="+")
    embed.add_argument("--weights", type=Path, required=True, help="BVLC's blobs or a captioner")
    embed.add_argument("--images", type=int, default=512, help="photographs a round")
    embed.add_argument("--rounds", type=int, default=3)
    search = names.add_parser("search", help="captions a second, beside the products alone")
    search.add_argument("--beams", type=int, nargs="+", default=BEAMS)
    search.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    search.add_argument("--repeats", type=int, default=5)
    evaluate = names.add_parser("evaluate", help="all caption scores, beside pycocoevalcap's")
    evaluate.add_argument("captions", type=Path, nargs="+", help="COCO's or Flickr8k's files")
    evaluate.add_argument("--images", type=int, nargs="+", default=IMAGES)
    evaluate.add_argument("--rounds", type=int, default=3)
    for each in (embed, search, evaluate):
        each.add_argument("--device", default="cpu")
    flags = parser.parse_args()
    run = {"embed": embed_figures, "search": search_figures, "evaluate": evaluate_figures}
    figures = run[flags.name](flags)
    print(json.dumps({"benchmark": flags.name, **machine(flags.device), **figures}))
    return 0


def embed_figures(flags: argparse.Namespace) -> dict[str, Any]:
    """Images a second, decoding included: ours, and torchvision's googlenet eagerly in float32.

    The two take turns on the same photographs. What compiling costs is timed apart and counted
    into the ratio at 8,000 photographs.
    """
    files = list(islice(find(flags.photographs), flags.images))
    theirs = torchvision.models.googlenet(
        weights=None, init_weights=False, aux_logits=False, transform_input=False
    )
    theirs = theirs.eval().to(flags.device)

    def run_theirs() -> None:
        with torch.inference_mode():
            for begin in range(0, len(files), 32):
                pixels = [square(decode(path), 224) for path in files[begin : begin + 32]]
                theirs(torch.stack(pixels).to(flags.device))

    runs: dict[str, Callable[[], None]] = {"torchvision float32 eager": run_theirs}
    warm_up: dict[str, float] = {}
    precisions = ["float32"] + (["bfloat16"] if bfloat16_pays(flags.device) else [])
    for precision in precisions:
        extractor = Extractor(
            trained_encoder("inception_v1", flags.weights),
            device=flags.device,
            bfloat16=precision == "bfloat16",
            compiled=True,
        )

        def run_ours(extractor: Extractor = extractor) -> None:
            for _ in extractor.files(files):
                pass

        begin = time.perf_counter()
        for _ in extractor.files(files[:32]):  # compiles
            pass
        warm_up[precision] = time.perf_counter() - begin
        runs[f"ours {precision}"] = run_ours
    seconds = in_turn(runs, flags.rounds)
    rates = {name: [len(files) / each for each in times] for name, times in seconds.items()}
    rate = {name: statistics.median(each) for name, each in rates.items()}
    base = rate["torchvision float32 eager"]
    return {
        "images": len(files),
        "images_per_second": {name: spread(each) for name, each in rates.items()},
        "compile_seconds": {name: round(each, 1) for name, each in warm_up.items()},
        "ratio": {name: round(rate[f"ours {name}"] / base, 2) for name in warm_up},
        "ratio_at_8000_with_compiling": {
            name: round(8000 / base / (8000 / rate[f"ours {name}"] + each), 2)
            for name, each in warm_up.items()
        },
    }


def search_figures(flags: argparse.Namespace) -> dict[str, Any]:
    """Captions a second by beam and batch, all steps run; the products alone; one image at a time.

    ``of_limit`` is the rate over that of the same matrix products alone; ``over_single`` the rate
    over that of one image at a time; ``stopping`` the rate where captions end by themselves, after
    ``words`` words in the mean.
    """
    torch.manual_seed(0)
    decoder = ShowAndTell(image_width=1024, vocabulary_size=VOCABULARY, dropout=0.0)
    decoder = decoder.eval().to(flags.device)
    rows = []
    for beam in flags.beams:
        single = 0.0
        for batch in sorted({1, *flags.batches}):
            repeats = 1 if batch * beam >= LARGE_ROWS else flags.repeats
            images = torch.randn(batch, 1024, device=flags.device)
            lengths: list[int] = []

            def run_search(images: Tensor = images, beam: int = beam, ends: bool = False) -> int:
                with torch.inference_mode():
                    state = decoder.start(images)
                    found = beam_search(
                        ending if ends else endless,
                        (*state, torch.zeros(len(images), device=flags.device)) if ends else state,
                        start=START,
                        end=END,
                        width=beam,
                        max_length=STEPS,
                    )
                return sum(len(each[0].words) for each in found)

            def endless(words: Tensor, state: State) -> tuple[Tensor, State]:
                odds, state = decoder.step(words, state)
                odds[:, END] = -1e4  # never among the best, and no copy
                return odds, state

            def ending(words: Tensor, state: State) -> tuple[Tensor, State]:
                *own, spoken = state
                odds, after = decoder.step(words, tuple(own))
                odds[:, END] = torch.where(spoken < 8, -1e4, -1.0 - (spoken + words % 5) % 3)
                return odds, (*after, spoken + 1)

            def run_stopping(
                run: Callable[..., int] = run_search, total: list[int] = lengths
            ) -> None:
                total.append(run(ends=True))

            seconds = in_turn(
                {
                    "search": run_search,
                    "products": products(decoder, batch, beam, flags.device),
                    "stopping": run_stopping,
                },
                repeats,
            )
            middle = {name: statistics.median(times) for name, times in seconds.items()}
            rate = batch / middle["search"]
            single = rate if batch == 1 else single
            rows.append(
                {
                    "beam": beam,
                    "batch": batch,
                    "captions_per_second": spread([batch / each for each in seconds["search"]]),
                    "limit": round(batch / middle["products"], 1),
                    "of_limit": round(middle["products"] / middle["search"], 3),
                    "over_single": round(rate / single, 2),
                    "stopping": round(batch / middle["stopping"], 1),
                    "words": round(lengths[-1] / batch, 1),
                }
            )
            print(rows[-1], file=sys.stderr)
    return {"vocabulary": VOCABULARY, "width": WIDTH, "steps": STEPS, "searches": rows}


def products(decoder: ShowAndTell, batch: int, beam: int, device: str) -> Callable[[], None]:
    """The matrix products of a search and nothing else: its limit."""
    gates = [decoder.input_gates.weight.T, decoder.hidden_gates.weight.T]
    output = decoder.output.weight.T
    ready = []
    for rows in (batch, batch * beam):
        left = torch.randn(rows, WIDTH, device=device)
        ready.append((left, left.new_empty(rows, 4 * WIDTH), left.new_empty(rows, VOCABULARY)))

    def run() -> None:
        with torch.inference_mode():
            for step in range(STEPS):
                left, gate, word = ready[step > 0]  # one beam at first
                for matrix in gates:
                    torch.mm(left, matrix, out=gate)
                torch.mm(left, output, out=word)

    return run


def evaluate_figures(flags: argparse.Namespace) -> dict[str, Any]:
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
    figures: dict[str, Any] = {"images in the files": len(described)}
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
            figures[f"{count} images"] = compared(commands, flags.rounds, count)
    return figures


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


def in_turn(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each by name, the rounds interleaved, after a round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            synchronise()
            begin = time.perf_counter()
            run()
            synchronise()
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def synchronise() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def spread(values: list[float], digits: int = 1) -> dict[str, float]:
    """Median, least and greatest."""
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, digits) for name, value in found.items()}


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    here = Path(__file__).resolve().parent
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    processor = platform.processor() or platform.machine()
    if device.startswith("cuda"):
        processor = torch.cuda.get_device_name()
    return {
        "device": device,
        "processor": processor,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "vl": __version__,
        "commit": commit.stdout.strip(),
    }


if __name__ == "__main__":
    raise SystemExit(main())
