#!/usr/bin/env bash
# Labels that the projection was never trained on, from text and photographs to tables.
#
#   scripts/reproduce_zeroshot.sh DATA OUT
#
# DATA holds wikipedia/enwiki_sample.txt.xz, word_eval/questions-words.txt, wordnet/{words,is_a}.txt,
# imagenet_1each/, imagenet_5each/, caltech101/, weights/bvlc_googlenet.safetensors and
# weights/synset_words.txt. OUT gets everything made; a run that was stopped goes on where it was.
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
classes="$data/weights/synset_words.txt"
mkdir -p "$out/tables"

# Word vectors: as in the paper, and as suits a short text better.
words() {
    local name=$1
    shift
    if [ -e "$out/$name.analogies.txt" ]; then return; fi
    vl train words "$data/wikipedia/enwiki_sample.txt.xz" --out "$out/$name.bin" --minimum 2 \
        --labels "$data/wordnet/words.txt" --evaluate "$data/word_eval/questions-words.txt" "$@" \
        >"$out/$name.analogies"
    mv "$out/$name.analogies" "$out/$name.analogies.txt"
}
words paper
words tuned --size 300 --window 10 --negative 10 --epochs 5 --sample 1e-4

vl embed "$data/imagenet_1each" "$data/imagenet_5each" "$data/caltech101" --resize center-crop \
    --views plain flip centre centre-flip --precision auto \
    --weights "$data/weights/bvlc_googlenet.safetensors" --out "$out/photographs.npy"
PYTHONPATH=. python scripts/zeroshot_lists.py "$data" "$out"

# A labeller, and its figures: among the 200 labels held out, among the 1,000, and for labels that
# the encoder never saw either.
judge() {
    local name=$1 words=$2
    shift 2
    if [ -e "$out/tables/$name.caltech.json" ]; then return; fi
    rm -rf "$out/$name"
    vl train devise "$out/train.txt" --held-out scripts/zeroshot/held_out.txt \
        --embeddings "$out/photographs.npy" --weights "$data/weights/bvlc_googlenet.safetensors" \
        --words "$out/$words.bin" --wordnet "$data/wordnet" --out "$out/$name" "$@"
    local ask=(--model "$out/$name/labeller.safetensors" --embeddings "$out/photographs.npy" --json)
    vl evaluate-labels "$out/unseen.txt" "${ask[@]}" --labels "$classes" >"$out/tables/$name.unseen.json"
    if [[ " $closer " == *" $name "* ]]; then
        vl evaluate-labels "$out/unseen.txt" "${ask[@]}" --labels "$classes" --csls \
            >"$out/tables/$name.csls.json"
        vl evaluate-labels "$out/unseen.txt" "$out/seen.txt" "${ask[@]}" --labels "$classes" \
            >"$out/tables/$name.both.json"
    fi
    vl evaluate-labels "$out/caltech.txt" "${ask[@]}" --none-of-these 0.1 >"$out/tables/$name.part"
    mv "$out/tables/$name.part" "$out/tables/$name.caltech.json"
    if [ "$name" != best ]; then rm -r "${out:?}/$name"; fi
}
# Those that are asked for hubs, and for seen and unseen labels together, as well.
closer="tuned-devise tuned-conse tuned-kinds-devise tuned-kinds-conse best"
kinds=(--kinds 0.8 --synonyms mean --centre)
conse=(--method conse --classes "$classes")
both=(--method both --classes "$classes")
for words in paper tuned; do
    judge "$words-devise" $words
    judge "$words-devise-full" $words --loss full
    judge "$words-conse" $words "${conse[@]}"
    judge "$words-both" $words "${both[@]}"
    judge "$words-kinds-devise" $words "${kinds[@]}"
    judge "$words-kinds-devise-full" $words "${kinds[@]}" --loss full
    judge "$words-kinds-conse" $words "${kinds[@]}" "${conse[@]}"
    if [ $words = paper ]; then judge paper-kinds-both $words "${kinds[@]}" "${both[@]}"; fi
done
judge best tuned "${kinds[@]}" "${both[@]}"

# What each means brings, one at a time.
judge synonyms-devise tuned --synonyms mean
judge synonyms-conse tuned --synonyms mean "${conse[@]}"
judge centre-devise tuned --centre
judge centre-conse tuned --centre "${conse[@]}"
judge only-kinds-devise tuned --kinds 0.8
judge only-kinds-conse tuned --kinds 0.8 "${conse[@]}"
# ConSE by a classifier of the same photographs that DeViSE is trained on.
judge own-conse tuned --method conse
judge own-kinds-conse tuned "${kinds[@]}" --method conse
# Random vectors: what is then left is not the words' doing, but WordNet's.
judge random-devise tuned --random-words
judge random-conse tuned --random-words "${conse[@]}"
judge random-kinds-devise tuned --random-words "${kinds[@]}"
judge random-kinds-conse tuned --random-words "${kinds[@]}" "${conse[@]}"

python scripts/zeroshot_table.py "$out" | tee "$out/tables.md"
