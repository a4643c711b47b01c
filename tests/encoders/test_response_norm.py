"""Local response normalization: PyTorch's output and gradient, in every layout and precision."""

import pytest
import torch
import torch.nn.functional as F

from vl.encoders.response_norm import ResponseNorm

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def reference(x):
    return F.local_response_norm(x, 5, 1e-4, 0.75)


@pytest.mark.parametrize("channels", [1, 3, 5, 64])
@pytest.mark.parametrize("size", [1.0, 300.0])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("gradient", [False, True])
def test_output(channels, size, layout, gradient):
    x = (torch.randn(3, channels, 4, 5) * size).to(memory_format=layout).requires_grad_(gradient)
    y = ResponseNorm()(x)
    assert y.requires_grad == gradient
    assert y.is_contiguous(memory_format=layout)
    torch.testing.assert_close(y, reference(x))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradient(layout):
    x = (torch.randn(3, 7, 4, 5) * 100).to(memory_format=layout)
    output_gradient = torch.randn(3, 7, 4, 5)  # always contiguous
    gradients = []
    for norm in (ResponseNorm(), reference):
        x_copy = x.clone().requires_grad_()
        norm(x_copy).backward(output_gradient)
        gradients.append(x_copy.grad)
    torch.testing.assert_close(*gradients)
    assert gradients[0].is_contiguous(memory_format=layout)


def test_gradcheck():
    x = (torch.randn(2, 6, 2, 2, dtype=torch.double) * 100).requires_grad_()
    assert torch.autograd.gradcheck(ResponseNorm(), x)


def test_it_writes_into_nothing_that_it_is_x_copy():
    x = torch.randn(2, 8, 3, 3).requires_grad_()
    output_gradient = torch.randn(2, 8, 3, 3)
    before = x.detach().clone(), output_gradient.clone()
    ResponseNorm()(x).backward(output_gradient)
    assert torch.equal(x, before[0])
    assert torch.equal(output_gradient, before[1])


@pytest.mark.parametrize("gradient", [False, True])
def test_half_precision_does_not_overflow(gradient):
    x = torch.full((1, 8, 2, 2), 1000.0)
    x_copy = x.half().requires_grad_(gradient)
    half = ResponseNorm()(x_copy)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), ResponseNorm()(x), rtol=1e-3, atol=0)
    if gradient:
        half.sum().backward()
        wide = x.clone().requires_grad_()
        ResponseNorm()(wide).sum().backward()
        assert x_copy.grad.dtype == torch.float16
        torch.testing.assert_close(x_copy.grad.float(), wide.grad, rtol=1e-2, atol=1e-6)
