"""Caption files, vocabularies and the PTB tokenizer."""
