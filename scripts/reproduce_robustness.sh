#!/usr/bin/env bash
# LeNet-5 on scikit-learn's digits, trained clean and against the fast gradient sign: its errors
# under attack.
#
#   scripts/reproduce_robustness.sh OUT
#
# Needs the extra "test" (scikit-learn), and no other data. OUT gets everything made; a run that was
# stopped goes on where it was.
set -euo pipefail

if [ $# -ne 1 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
out=$(realpath -m "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -d .venv/bin ]; then
    PATH="$PWD/.venv/bin:$PATH"
fi
mkdir -p "$out"
if [ ! -e "$out/digits" ]; then
    rm -rf "$out/digits.part"
    python scripts/robustness_digits.py "$out/digits.part"
    mv "$out/digits.part" "$out/digits"
fi

# Trains a network and counts its errors on a split; what is there already is left.
judge() {
    local name=$1 split=$2
    shift 2
    if [ -e "$out/$name.$split.json" ]; then return; fi
    rm -rf "${out:?}/$name"
    python -m vl train encoder "$out/digits/training" --out "$out/$name" --encoder lenet5 \
        --epochs 20 --rate 0.05 --smoothing 0 --colour 0 --flip 0 --least-area 0.7 "$@"
    python -m vl attack "$out/digits/$split" --model "$out/$name/encoder.safetensors" --labelled \
        --resize squash --eps 0.05 0.1 0.15 0.2 0.25 --steps 10 --batch-size 100 --json \
        >"$out/$name.part"
    mv "$out/$name.part" "$out/$name.$split.json"
}

# How far the pictures are moved in training is chosen on the development split.
for epsilon in 0.1 0.15 0.25; do
    judge "choice-$epsilon" development --adversarial "$epsilon" --clean-weight 0.5 --seed 0
done
epsilon=$(PYTHONPATH=. python scripts/robustness_table.py "$out" --choose)
echo "adversarial training with epsilon $epsilon"

for seed in 1 2 3; do
    judge "clean-$seed" test --seed "$seed"
    judge "adversarial-$seed" test --adversarial "$epsilon" --clean-weight 0.5 --seed "$seed"
done
PYTHONPATH=. python scripts/robustness_table.py "$out" --picture "$out/robustness.png" |
    tee "$out/table.md"
