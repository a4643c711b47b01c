"""Kill `vl train encoder` at moments drawn by chance, and see that it ends as undisturbed.

python -m tests.encoder_kills --times 20 [--workers 2] [--seed 0]; it is not run by pytest.
"""

import argparse
import random
import tempfile
from pathlib import Path

from tests.commands.test_train_encoder import COLOURS, QUICK, assert_same_run
from tests.helpers.colored_images import folders
from tests.processes.encoder_run import counted, encoder, killed, together


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    chances = random.Random(flags.seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        photos = folders(place / "photos", COLOURS, count=10)
        given = [photos, *QUICK, "--epochs", 3, "--development-share", 0.2, "--mixup", 0.2]
        given += ["--average", 0.9, "--workers", flags.workers]
        log = place / "said"
        whole = place / "whole"
        ended = together(counted, str(place / "count"), *given, "--out", whole, log=log)
        assert ended.codes == [0], ended.said
        most = int((place / "count").read_text())
        deaths = 0
        run = 0
        while deaths < flags.times:
            run += 1
            out = [*given, "--out", place / str(run)]
            again: list[str] = []
            for _ in range(3):  # of one run at most
                # What is left of it has fewer moments: one beyond them lets it end.
                moment = chances.randint(1, most)
                ended = together(killed, moment, 0, *out, *again, log=log)
                assert ended.codes in ([-9], [0]), ended.said
                if ended.codes == [0]:
                    break
                deaths += 1
                print(f"run {run}: killed at moment {moment} of {most}", flush=True)
                again = ["--resume"] if (place / str(run) / "state.pt").exists() else []
            if ended.codes != [0]:
                ended = together(encoder, *out, *again, log=log)
                assert ended.codes == [0], ended.said
            assert_same_run(whole, place / str(run))
            print(f"run {run}: as the undisturbed one", flush=True)
    print(f"killed {deaths} times in {run} runs; all ended as the undisturbed one")


if __name__ == "__main__":
    main()
