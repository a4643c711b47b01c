"""Caption files: read, pair, evaluate, write, report."""
