#!/usr/bin/env bash
# Flickr8k, from images to a table of scores: embed, train, caption the development split, evaluate.
#
#   scripts/flickr8k/run.sh DATA OUTPUT
#
# DATA holds flickr8k/images/, flickr8k/Flickr8k.token.txt, flickr8k/Flickr_8k.trainImages.txt,
# flickr8k/Flickr_8k.devImages.txt and weights/bvlc_googlenet.safetensors. Everything is written to
# OUTPUT; an interrupted run continues where it stopped.
source "$(dirname "${BASH_SOURCE[0]}")/../study.sh" DATA OUTPUT -- "$@"
flickr="$data/flickr8k"
weights="$data/weights/bvlc_googlenet.safetensors"
dataset=(--captions "$flickr/Flickr8k.token.txt"
    --train-list "$flickr/Flickr_8k.trainImages.txt"
    --dev-list "$flickr/Flickr_8k.devImages.txt"
    --embeddings "$output/embeddings.npy" --precision auto)

# Trains into a folder, or continues an interrupted run: `train VERB FOLDER FLAGS`.
train() {
    local verb=$1 folder=$2 resume=()
    shift 2
    if [ -e "$folder/state.pt" ]; then resume=(--resume); fi
    vl "$verb" captioner "${dataset[@]}" --output-dir "$folder" "$@" "${resume[@]}"
}

vl embed "$flickr/images" --weights "$weights" --output "$output/embeddings.npy" --views plain flip \
    --precision auto

# Two decoders that differ in their seed alone: first trained on the reference captions, keeping the
# epoch with the lowest development loss, then briefly self-critical.
for seed in 1 2; do
    train train "$output/seed-$seed" --weights "$weights" --seed "$seed" --embedding-size 256 --dropout 0.5 \
        --learning-rate 2e-3 --batch-size 150 --epochs 10 --selection-metric loss
    train self-critical "$output/tuned-$seed" --model "$output/seed-$seed/captioner.safetensors" \
        --seed "$seed" --learning-rate 5e-5 --warmup-steps 20 --batch-size 60 --epochs 1
done

# An ensemble of the two as one captioner, and its captions of the development split.
sed "s|^|$flickr/images/|" "$flickr/Flickr_8k.devImages.txt" |
    vl caption - --model "$output"/tuned-{1,2}/captioner.safetensors --num-beams 12 \
        --rank-by minimum-bayes-risk --save-model "$output/captioner.safetensors" \
        --output "$output/results.json" >"$output/captions.txt"

{
    vl evaluate "$output/results.json" --references "$flickr/Flickr8k.token.txt" \
        --image-list "$flickr/Flickr_8k.devImages.txt"
    echo "distinct captions $(cut -f 2 "$output/captions.txt" | sort -u | wc -l)"
} | tee "$output/table.txt"
