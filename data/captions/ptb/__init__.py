"""Stanford's PTB tokenizer, rule by rule."""
