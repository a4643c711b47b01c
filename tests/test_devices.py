"""The device that a flag names."""

import pytest
import torch

from vl import devices


def test_cpu_is_always_there():
    assert devices.resolve_device("cpu") == torch.device("cpu")
    assert isinstance(devices.bfloat16_is_faster("cpu"), bool)


@pytest.mark.parametrize("name", ["tpu", "", "meta", "cuda:x", "CPU"])
def test_another_device_is_refused(name):
    with pytest.raises(ValueError, match=f"device is '{name}'; it must be auto, cpu, cuda"):
        devices.resolve_device(name)


def test_a_gpu_that_is_not_there_is_refused():
    expected = "but there are" if torch.cuda.is_available() else "sees no CUDA GPU; use --device"
    with pytest.raises(ValueError, match=f"device is cuda:99, but .*{expected}|{expected}"):
        devices.resolve_device("cuda:99")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_is_found():
    assert devices.resolve_device("cuda") == torch.device("cuda")
    assert devices.resolve_device("cuda:0") == torch.device("cuda", 0)
    assert isinstance(devices.bfloat16_is_faster("cuda"), bool)
