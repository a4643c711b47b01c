#!/usr/bin/env bash
# Zero-shot labels, from text and images to tables: word vectors, labellers, their evaluation.
#
#   scripts/zeroshot/run.sh DATA OUTPUT
#
# DATA holds wikipedia/enwiki_sample.txt.xz, word_eval/questions-words.txt, wordnet/{words,is_a}.txt,
# imagenet_1each/, imagenet_5each/, caltech101/, weights/bvlc_googlenet.safetensors and
# weights/synset_words.txt. Everything is written to OUTPUT; an interrupted run continues where it
# stopped.
source "$(dirname "${BASH_SOURCE[0]}")/../study.sh" DATA OUTPUT -- "$@"
classes="$data/weights/synset_words.txt"
mkdir -p "$output/tables"

# Word vectors: the paper's settings, and settings better suited to a short text.
words() {
    local name=$1
    shift
    if [ -e "$output/$name.analogies.txt" ]; then return; fi
    vl train words "$data/wikipedia/enwiki_sample.txt.xz" --output "$output/$name.bin" --min-count 2 \
        --labels "$data/wordnet/words.txt" --analogies "$data/word_eval/questions-words.txt" "$@" \
        >"$output/$name.analogies"
    mv "$output/$name.analogies" "$output/$name.analogies.txt"
}
words paper
words tuned --vector-size 300 --window 10 --negative 10 --epochs 5 --sample 1e-4

vl embed "$data/imagenet_1each" "$data/imagenet_5each" "$data/caltech101" --resize center-crop \
    --views plain flip center center-flip --precision auto \
    --weights "$data/weights/bvlc_googlenet.safetensors" --output "$output/images.npy"
python scripts/zeroshot/lists.py "$data" "$output"

# Trains a labeller and evaluates it: among the 200 held-out labels, among all 1,000, and on labels
# that the encoder was not trained on either.
evaluate() {
    local name=$1 words=$2
    shift 2
    if [ -e "$output/tables/$name.caltech.json" ]; then return; fi
    rm -rf "$output/$name"
    vl train labeller "$output/train.txt" --held-out scripts/zeroshot/held_out.txt \
        --embeddings "$output/images.npy" --weights "$data/weights/bvlc_googlenet.safetensors" \
        --word-vectors "$output/$words.bin" --wordnet "$data/wordnet" --output-dir "$output/$name" "$@"
    local common=(--model "$output/$name/labeller.safetensors" --embeddings "$output/images.npy" --json)
    vl evaluate-labels "$output/unseen.txt" "${common[@]}" --labels "$classes" >"$output/tables/$name.unseen.json"
    if [[ " $extended " == *" $name "* ]]; then
        vl evaluate-labels "$output/unseen.txt" "${common[@]}" --labels "$classes" --csls \
            >"$output/tables/$name.csls.json"
        vl evaluate-labels "$output/unseen.txt" "$output/seen.txt" "${common[@]}" --labels "$classes" \
            >"$output/tables/$name.both.json"
    fi
    vl evaluate-labels "$output/caltech.txt" "${common[@]}" --none-of-these 0.1 >"$output/tables/$name.part"
    mv "$output/tables/$name.part" "$output/tables/$name.caltech.json"
    if [ "$name" != best ]; then rm -r "${output:?}/$name"; fi
}
# Labellers also evaluated with CSLS and on seen and unseen labels together.
extended="tuned-devise tuned-conse tuned-hypernyms-devise tuned-hypernyms-conse best"
hypernyms=(--hypernym-weight 0.8 --synonyms mean --subtract-mean)
conse=(--method conse --classes "$classes")
both=(--method both --classes "$classes")
for words in paper tuned; do
    evaluate "$words-devise" $words
    evaluate "$words-devise-full" $words --loss full
    evaluate "$words-conse" $words "${conse[@]}"
    evaluate "$words-both" $words "${both[@]}"
    evaluate "$words-hypernyms-devise" $words "${hypernyms[@]}"
    evaluate "$words-hypernyms-devise-full" $words "${hypernyms[@]}" --loss full
    evaluate "$words-hypernyms-conse" $words "${hypernyms[@]}" "${conse[@]}"
    if [ $words = paper ]; then evaluate paper-hypernyms-both $words "${hypernyms[@]}" "${both[@]}"; fi
done
evaluate best tuned "${hypernyms[@]}" "${both[@]}"

# Ablations: one setting at a time.
evaluate synonyms-devise tuned --synonyms mean
evaluate synonyms-conse tuned --synonyms mean "${conse[@]}"
evaluate centered-devise tuned --subtract-mean
evaluate centered-conse tuned --subtract-mean "${conse[@]}"
evaluate only-hypernyms-devise tuned --hypernym-weight 0.8
evaluate only-hypernyms-conse tuned --hypernym-weight 0.8 "${conse[@]}"
# ConSE on a classifier trained on the same images as DeViSE.
evaluate own-conse tuned --method conse
evaluate own-hypernyms-conse tuned "${hypernyms[@]}" --method conse
# Random word vectors: what remains is due to WordNet, not to the words.
evaluate random-devise tuned --random-word-vectors
evaluate random-conse tuned --random-word-vectors "${conse[@]}"
evaluate random-hypernyms-devise tuned --random-word-vectors "${hypernyms[@]}"
evaluate random-hypernyms-conse tuned --random-word-vectors "${hypernyms[@]}" "${conse[@]}"

python scripts/zeroshot/table.py "$output" | tee "$output/tables.md"
