"""The device and the precision that flags name."""

import time

import torch

from vl.data.choices import AutoPrecision, Precision


def resolve_device(name: str) -> torch.device:
    """A device by name: ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Raises:
        ValueError: another name, or PyTorch does not see the device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:  # PyTorch's message lists two dozen devices
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device is {name!r}; it must be auto, cpu, cuda, or one GPU, as cuda:1")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {name}, but PyTorch sees no CUDA GPU; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device is {name}, but there are {torch.cuda.device_count()} GPUs")
    return device


def resolve_precision(precision: AutoPrecision, device: torch.device | str) -> Precision:
    """The precision itself; for ``"auto"`` bfloat16 if the device is faster at it."""
    if precision == "auto":
        return "bfloat16" if bfloat16_is_faster(device) else "float32"
    return precision


def bfloat16_is_faster(device: torch.device | str) -> bool:
    """Whether a matrix product in bfloat16 takes less than two thirds of float32's time."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return _product_seconds(torch.bfloat16) < 2 / 3 * _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype) -> float:
    matrix = torch.ones(768, 768, dtype=dtype)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - start)
    return min(times)
