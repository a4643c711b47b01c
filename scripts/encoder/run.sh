#!/usr/bin/env bash
# Fine-tune BVLC's GoogLeNet on Caltech-101 to three depths: training time and top-1 accuracy of each.
#
#   scripts/encoder/run.sh DATA OUTPUT
#
# DATA holds caltech101/ (folders of 12 images: the first 8 by name are for training, the last 4 for
# testing) and weights/bvlc_googlenet.safetensors. Everything is written to OUTPUT; an interrupted run
# continues where it stopped.
source "$(dirname "${BASH_SOURCE[0]}")/../study.sh" DATA OUTPUT -- "$@"

for class in "$data"/caltech101/*/; do
    name=$(basename "$class")
    mkdir -p "$output/training/$name" "$output/test/$name"
    index=0
    for image in "$class"*.jpg; do
        index=$((index + 1))
        if [ $index -le 8 ]; then split=training; else split=test; fi
        ln -sf "$image" "$output/$split/$name/"
    done
done

# Fine-tunes to a depth, then evaluates on the test images.
finetune() {
    local depth=$1 pretrained=$2
    shift 2
    if [ ! -e "$output/$depth/seconds" ]; then
        local begin=$SECONDS resume=()
        if [ -e "$output/$depth/state.pt" ]; then resume=(--resume); else rm -rf "${output:?}/$depth"; fi
        vl finetune encoder "$output/training" --pretrained "$pretrained" --depth "$depth" \
            --resize squash --output-dir "$output/$depth" "$@" "${resume[@]}"
        echo $((SECONDS - begin)) >"$output/$depth/seconds"
    fi
    printf '%s: trained in %s s\n' "$depth" "$(cat "$output/$depth/seconds")"
    vl evaluate-encoder "$output/test" --model "$output/$depth/encoder.safetensors" --crops 1 \
        --resize squash
}
finetune last "$data/weights/bvlc_googlenet.safetensors" --encoder inception_v1
gentle=(--min-crop-area 0.5 --color-jitter 0 --batch-size 32 --checkpoint-seconds 600)
finetune blocks "$output/last/encoder.safetensors" --learning-rate 0.001 --epochs 4 "${gentle[@]}"
finetune all "$output/blocks/encoder.safetensors" --learning-rate 0.0005 --epochs 2 "${gentle[@]}"
