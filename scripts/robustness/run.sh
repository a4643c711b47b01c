#!/usr/bin/env bash
# LeNet-5 on scikit-learn's digits, trained with and without adversarial examples: its error under attack.
#
#   scripts/robustness/run.sh OUTPUT
#
# Needs the extra "test" (scikit-learn) and no other data. Everything is written to OUTPUT; an interrupted run continues
# where it stopped.
source "$(dirname "${BASH_SOURCE[0]}")/../study.sh" OUTPUT -- "$@"
if [ ! -e "$output/digits" ]; then
    rm -rf "$output/digits.part"
    python scripts/robustness/digits.py "$output/digits.part"
    mv "$output/digits.part" "$output/digits"
fi

# Trains a network and measures its error on a split; existing results are kept.
evaluate() {
    local name=$1 split=$2
    shift 2
    if [ -e "$output/$name.$split.json" ]; then return; fi
    rm -rf "${output:?}/$name"
    vl train encoder "$output/digits/training" --output-dir "$output/$name" --encoder lenet5 \
        --epochs 20 --learning-rate 0.05 --label-smoothing 0 --color-jitter 0 --flip-probability 0 \
        --min-crop-area 0.7 "$@"
    vl evaluate-robustness "$output/digits/$split" --model "$output/$name/encoder.safetensors" \
        --resize squash --epsilon 0.05 0.1 0.15 0.2 0.25 --steps 10 --batch-size 100 --json \
        >"$output/$name.part"
    mv "$output/$name.part" "$output/$name.$split.json"
}

# The perturbation size of adversarial training is chosen on the development split.
for epsilon in 0.1 0.15 0.25; do
    evaluate "choice-$epsilon" development --adversarial-epsilon "$epsilon" --clean-weight 0.5 --seed 0
done
epsilon=$(python scripts/robustness/table.py "$output" --choose)
echo "adversarial training with epsilon $epsilon"

for seed in 1 2 3; do
    evaluate "clean-$seed" test --seed "$seed"
    evaluate "adversarial-$seed" test --adversarial-epsilon "$epsilon" --clean-weight 0.5 --seed "$seed"
done
python scripts/robustness/table.py "$output" --image "$output/robustness.png" | tee "$output/table.md"
