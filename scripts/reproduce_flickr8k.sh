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
data=$1 out=$2
vl() { python -m vl "$@"; }
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
if [ -d .venv/bin ]; then
    PATH="$PWD/.venv/bin:$PATH"
fi
flickr="$data/flickr8k"
weights="$data/weights/bvlc_googlenet.safetensors"
mkdir -p "$out"

[ -e "$out/embeddings.json" ] || vl embed "$flickr/images" --weights "$weights" \
    --out "$out/embeddings.npy" --views plain flip --precision auto

# Three decoders that differ in their seed alone; each keeps its best epoch on the development split.
for seed in 1 2 3; do
    run="$out/seed-$seed"
    resume=()
    if [ -e "$run/state.pt" ]; then resume=(--resume); fi
    vl train captioner --captions "$flickr/Flickr8k.token.txt" \
        --train-images "$flickr/Flickr_8k.trainImages.txt" \
        --dev-images "$flickr/Flickr_8k.devImages.txt" \
        --embeddings "$out/embeddings.npy" --weights "$weights" --out "$run" --seed "$seed" \
        --width 256 --dropout 0.5 --rate 2e-3 --batch-size 150 --epochs 10 --criterion loss \
        --precision auto "${resume[@]}"
done

# One captioner out of the three, and its captions of the development split.
models=("$out"/seed-{1,2,3}/captioner.safetensors)
sed "s|^|$flickr/images/|" "$flickr/Flickr_8k.devImages.txt" |
    vl caption - --model "${models[@]}" --beam 12 --order consensus \
        --save "$out/captioner.safetensors" --out "$out/results.json" >"$out/captions.txt"

score() {
    vl evaluate "$1" --references "$flickr/Flickr8k.token.txt" \
        --images "$flickr/Flickr_8k.devImages.txt"
    printf 'distinct %s\n' "$(grep -o '"caption": .*' "$1" | sort -u | wc -l)"
}
score "$out/results.json" | tee "$out/table.txt"
