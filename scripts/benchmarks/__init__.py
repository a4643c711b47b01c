"""Speed, measured side by side: a file each benchmark, run by ``scripts/benchmark.py``."""
