#!/usr/bin/env bash
# Flickr8k, from photographs to a table of scores: embed, train, caption the development split, score.
#
#   scripts/reproduce_flickr8k.sh DATA OUT
#
# DATA holds flickr8k/images/, flickr8k/Flickr8k.token.txt, flickr8k/Flickr_8k.trainImages.txt,
# flickr8k/Flickr_8k.devImages.txt and weights/bvlc_googlenet.safetensors. OUT gets everything made;
# a run that was stopped goes on where it was.
set -euo pipefail

if [ $# -ne 2 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
data=$(realpath "$1") out=$(realpath -m "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -d .venv/bin ]; then
    PATH="$PWD/.venv/bin:$PATH"
fi
vl() { python -m vl "$@"; }
flickr="$data/flickr8k"
weights="$data/weights/bvlc_googlenet.safetensors"
splits=(--captions "$flickr/Flickr8k.token.txt"
    --train-images "$flickr/Flickr_8k.trainImages.txt"
    --dev-images "$flickr/Flickr_8k.devImages.txt"
    --embeddings "$out/embeddings.npy" --precision auto)
mkdir -p "$out"

# Trains into a folder, or goes on where a stopped run was.
train() {
    local folder=$1 resume=()
    shift
    if [ -e "$folder/state.pt" ]; then resume=(--resume); fi
    vl train captioner "${splits[@]}" --out "$folder" "$@" "${resume[@]}"
}

vl embed "$flickr/images" --weights "$weights" --out "$out/embeddings.npy" --views plain flip \
    --precision auto

# Two decoders that differ in their seed alone. First on people's captions, the epoch of the least
# development loss; then a short while on their own captions and what those score.
for seed in 1 2; do
    train "$out/seed-$seed" --weights "$weights" --seed "$seed" --width 256 --dropout 0.5 \
        --rate 2e-3 --batch-size 150 --epochs 10 --criterion loss
    train "$out/tuned-$seed" --self-critical --start "$out/seed-$seed/captioner.safetensors" \
        --seed "$seed" --rate 5e-5 --warm-up 20 --batch-size 60 --epochs 1
done

# One captioner out of the two, and its captions of the development split.
sed "s|^|$flickr/images/|" "$flickr/Flickr_8k.devImages.txt" |
    vl caption - --model "$out"/tuned-{1,2}/captioner.safetensors --beam 12 --order consensus \
        --save "$out/captioner.safetensors" --out "$out/results.json" >"$out/captions.txt"

{
    vl evaluate "$out/results.json" --references "$flickr/Flickr8k.token.txt" \
        --images "$flickr/Flickr_8k.devImages.txt"
    echo "distinct captions $(cut -f 2 "$out/captions.txt" | sort -u | wc -l)"
} | tee "$out/table.txt"
