"""The training loop, checkpoints, optimizers and parallelism."""
