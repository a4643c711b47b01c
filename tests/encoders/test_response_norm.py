"""Local response normalisation: PyTorch's numbers and gradient, in every layout and precision."""

import pytest
import torch
import torch.nn.functional as F

from vl.encoders.response_norm import ResponseNorm

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def published(x):
    return F.local_response_norm(x, 5, 1e-4, 0.75)


@pytest.mark.parametrize("channels", [1, 3, 5, 64])
@pytest.mark.parametrize("size", [1.0, 300.0])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("trained", [False, True])
def test_it_is_pytorch_s(channels, size, layout, trained):
    x = (torch.randn(3, channels, 4, 5) * size).to(memory_format=layout).requires_grad_(trained)
    y = ResponseNorm()(x)
    assert y.requires_grad == trained
    assert y.is_contiguous(memory_format=layout)
    torch.testing.assert_close(y, published(x))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_its_gradient_is_pytorch_s(layout):
    x = (torch.randn(3, 7, 4, 5) * 100).to(memory_format=layout)
    slope = torch.randn(3, 7, 4, 5)  # of another layout than x where that is channels-last
    gradients = []
    for norm in (ResponseNorm(), published):
        given = x.clone().requires_grad_()
        norm(given).backward(slope)
        gradients.append(given.grad)
    torch.testing.assert_close(*gradients)
    assert gradients[0].is_contiguous(memory_format=layout)


def test_it_has_the_right_gradient():
    x = (torch.randn(2, 6, 2, 2, dtype=torch.double) * 100).requires_grad_()
    assert torch.autograd.gradcheck(ResponseNorm(), x)


def test_it_writes_into_nothing_that_it_is_given():
    x = torch.randn(2, 8, 3, 3).requires_grad_()
    slope = torch.randn(2, 8, 3, 3)
    before = x.detach().clone(), slope.clone()
    ResponseNorm()(x).backward(slope)
    assert torch.equal(x, before[0])
    assert torch.equal(slope, before[1])


@pytest.mark.parametrize("trained", [False, True])
def test_it_holds_in_half_precision_where_squares_do_not(trained):
    x = torch.full((1, 8, 2, 2), 1000.0)
    given = x.half().requires_grad_(trained)
    half = ResponseNorm()(given)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), ResponseNorm()(x), rtol=1e-3, atol=0)
    if trained:
        half.sum().backward()
        wide = x.clone().requires_grad_()
        ResponseNorm()(wide).sum().backward()
        assert given.grad.dtype == torch.float16
        torch.testing.assert_close(given.grad.float(), wide.grad, rtol=1e-2, atol=1e-6)
