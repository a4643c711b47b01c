"""The verbs of `vl`, a file each: a frozen dataclass of flags and the function that runs it."""
