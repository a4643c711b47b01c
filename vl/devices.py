"""Where tensors live: the device that a flag names, and what it is quick at."""

import time

import torch


def named(name: str) -> torch.device:
    """The device of a name: ``"cpu"``, ``"cuda"``, or one GPU of several, ``"cuda:1"``.

    Raises:
        ValueError: it is another, or PyTorch does not see it here.
    """
    try:
        device = torch.device(name)
    except RuntimeError:  # PyTorch's answer lists two dozen devices
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device is {name!r}; it must be cpu, cuda, or cuda:1 for one of several")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {name}, but PyTorch sees no CUDA GPU here; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device is {name}, but there are {torch.cuda.device_count()} GPUs here")
    return device


def bfloat16_pays(device: torch.device | str) -> bool:
    """Whether a matrix product in bfloat16 takes less than two thirds of float32's time here."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return _product_seconds(torch.bfloat16) < 2 / 3 * _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype) -> float:
    matrix = torch.ones(768, 768, dtype=dtype)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - begin)
    return min(times)
