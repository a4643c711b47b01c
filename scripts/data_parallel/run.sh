#!/usr/bin/env bash
# Data-parallel training on four processes (synchronous, local SGD, FSDP2) beside a single process:
# training loss and development accuracy after the same digits.
#
#   scripts/data_parallel/run.sh OUTPUT
#
# Needs the extra "test" (scikit-learn) and no other data. Everything is written to OUTPUT.
source "$(dirname "${BASH_SOURCE[0]}")/../study.sh" OUTPUT -- "$@"
export OMP_NUM_THREADS=1
if [ ! -e "$output/digits" ]; then
    rm -rf "$output/digits.part"
    python scripts/robustness/digits.py "$output/digits.part"
    mv "$output/digits.part" "$output/digits"
fi

run() {
    local name=$1 processes=$2
    shift 2
    if [ ! -e "$output/$name/done" ]; then
        rm -rf "${output:?}/$name"
        python -m torch.distributed.run --standalone --nproc-per-node "$processes" -m vl train encoder \
            "$output/digits/training" --development "$output/digits/development" \
            --output-dir "$output/$name" --encoder lenet5 --epochs 20 --batch-size 32 \
            --learning-rate 0.05 --label-smoothing 0 --color-jitter 0 --flip-probability 0 \
            --min-crop-area 0.7 --resize squash "$@"
        touch "$output/$name/done"
    fi
    python - "$name" "$output/$name/log.jsonl" <<'PYTHON'
import json
import sys

lines = [json.loads(line) for line in open(sys.argv[2])]
losses = [line["loss"] for line in lines if "loss" in line][-8:]
accuracies = [line["development/top-1"] for line in lines if "development/top-1" in line]
print(f"{sys.argv[1]}\tloss {sum(losses) / len(losses):.4f}\ttop-1 {accuracies[-1]:.1f}")
PYTHON
}
run single 1
run synchronous 4
for steps in 1 4 16; do run "local-sgd-$steps" 4 --local-steps "$steps"; done
run fsdp 4 --fsdp
