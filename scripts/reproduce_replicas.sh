#!/usr/bin/env bash
# Four processes in step, loosely coupled, and with a part of the weights each, beside one alone:
# the loss and top-1 after the same digits.
#
#   scripts/reproduce_replicas.sh OUT
#
# Needs the extra "test" (scikit-learn), and no other data.
set -euo pipefail

if [ $# -ne 1 ]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
out=$(realpath -m "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -d .venv/bin ]; then
    PATH="$PWD/.venv/bin:$PATH"
fi
export OMP_NUM_THREADS=1
mkdir -p "$out"
if [ ! -e "$out/digits" ]; then
    rm -rf "$out/digits.part"
    python scripts/robustness_digits.py "$out/digits.part"
    mv "$out/digits.part" "$out/digits"
fi

run() {
    local name=$1 processes=$2
    shift 2
    if [ ! -e "$out/$name/done" ]; then
        rm -rf "${out:?}/$name"
        python -m torch.distributed.run --standalone --nproc-per-node "$processes" -m vl train encoder \
            "$out/digits/training" --development "$out/digits/development" --out "$out/$name" \
            --encoder lenet5 --epochs 20 --batch-size 32 --rate 0.05 --smoothing 0 --colour 0 \
            --flip 0 --least-area 0.7 --resize squash "$@"
        touch "$out/$name/done"
    fi
    python - "$name" "$out/$name/log.jsonl" <<'PYTHON'
import json
import sys

lines = [json.loads(line) for line in open(sys.argv[2])]
losses = [line["loss"] for line in lines if "loss" in line][-8:]
judged = [line["development/top-1"] for line in lines if "judged" in line]
print(f"{sys.argv[1]}\tloss {sum(losses) / len(losses):.4f}\ttop-1 {judged[-1]:.1f}")
PYTHON
}
run alone 1
run in-step 4
for steps in 1 4 16; do run "local-$steps" 4 --local-steps "$steps"; done
run part-each 4 --part-each
