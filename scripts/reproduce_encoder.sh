#!/usr/bin/env bash
# The fine-tuning ladder on Caltech-101, from BVLC's GoogLeNet: each rung, its time and its top-1.
#
#   scripts/reproduce_encoder.sh DATA OUT
#
# DATA holds caltech101/ (folders of 12 photographs: the first 8 by name are trained on, the last 4
# judged) and weights/bvlc_googlenet.safetensors. OUT gets everything made; a run that was stopped
# goes on where it was.
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

for class in "$data"/caltech101/*/; do
    name=$(basename "$class")
    mkdir -p "$out/training/$name" "$out/test/$name"
    number=0
    for photograph in "$class"*.jpg; do
        number=$((number + 1))
        if [ $number -le 8 ]; then part=training; else part=test; fi
        ln -sf "$photograph" "$out/$part/$name/"
    done
done

# A rung of the ladder, and what it is worth.
rung() {
    local name=$1 from=$2
    shift 2
    if [ ! -e "$out/$name/seconds" ]; then
        local begin=$SECONDS resume=()
        if [ -e "$out/$name/state.pt" ]; then resume=(--resume); else rm -rf "${out:?}/$name"; fi
        vl train encoder "$out/training" --from "$from" --out "$out/$name" "$@" "${resume[@]}"
        echo $((SECONDS - begin)) >"$out/$name/seconds"
    fi
    printf '%s: trained in %s s\n' "$name" "$(cat "$out/$name/seconds")"
    vl evaluate-encoder "$out/test" --model "$out/$name/encoder.safetensors" --crops 1 --resize squash
}
rung last "$data/weights/bvlc_googlenet.safetensors" --encoder inception_v1 --tune last --resize squash
gentle=(--resize squash --least-area 0.5 --colour 0 --batch-size 32 --save-seconds 600)
rung blocks "$out/last/encoder.safetensors" --tune blocks --rate 0.001 --epochs 4 "${gentle[@]}"
rung all "$out/blocks/encoder.safetensors" --tune all --rate 0.0005 --epochs 2 "${gentle[@]}"
