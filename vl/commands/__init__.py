"""The verbs of the `vl` command, a file each: a frozen dataclass of flags and the function that runs it."""
