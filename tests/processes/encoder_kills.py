"""Kill `vl train encoder` at random moments, and check that it ends as an uninterrupted run.

python -m tests.processes.encoder_kills --times 20 [--num-workers 2] [--seed 0]; pytest does not run
it.
"""

import argparse
import random
import tempfile
from pathlib import Path

from tests.commands.test_train_encoder import COLORS, QUICK, assert_same_run
from tests.helpers.colored_images import folders
from tests.processes.encoder_run import counted, encoder, killed, together


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--num-workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    rng = random.Random(flags.seed)
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder)
        photos = folders(workdir / "photos", COLORS, count=10)
        arguments = [photos, *QUICK, "--epochs", 3, "--development-share", 0.2, "--mixup", 0.2]
        arguments += ["--ema-decay", 0.9, "--num-workers", flags.num_workers]
        log = workdir / "log"
        whole = workdir / "whole"
        count = workdir / "count"
        ended = together(counted, str(count), *arguments, "--output-dir", whole, log=log)
        assert ended.codes == [0], ended.output
        moments = int(count.read_text())
        deaths = 0
        run = 0
        while deaths < flags.times:
            run += 1
            out = [*arguments, "--output-dir", workdir / str(run)]
            resume: list[str] = []
            for _ in range(3):  # of one run at moments
                # A resumed run has fewer moments: one beyond them lets it end.
                moment = rng.randint(1, moments)
                ended = together(killed, moment, 0, *out, *resume, log=log)
                assert ended.codes in ([-9], [0]), ended.output
                if ended.codes == [0]:
                    break
                deaths += 1
                print(f"run {run}: killed at moment {moment} of {moments}", flush=True)
                resume = ["--resume"] if (workdir / str(run) / "state.pt").exists() else []
            if ended.codes != [0]:
                ended = together(encoder, *out, *resume, log=log)
                assert ended.codes == [0], ended.output
            assert_same_run(whole, workdir / str(run))
            print(f"run {run}: as the uninterrupted one", flush=True)
    print(f"killed {deaths} times in {run} runs; all ended as the uninterrupted one")


if __name__ == "__main__":
    main()
