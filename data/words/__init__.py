"""Word vectors, labels and WordNet."""
