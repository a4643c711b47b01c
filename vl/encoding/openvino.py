"""An Inception network on OpenVINO: PyTorch's numbers to rounding, sooner on a processor.

It does not know what the embeddings are for.
"""

import importlib.util
import sys
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from vl.encoders.inception import Convolution, Inception, InceptionModule
from vl.encoders.response_norm import ResponseNorm

Engine = Literal["torch", "openvino"]

# Drawing and starting take about 2 s on two cores, and spare about 10 ms an image beside PyTorch
# as it is: below this many it does not pay.
OPENVINO_FROM = 250
_PIECE = 8  # images that a thread takes at a time; 4 to 16 differ little


class EngineError(RuntimeError):
    """OpenVINO cannot run this, and why."""


def problem(encoder: nn.Module) -> str | None:
    """Why OpenVINO cannot run an encoder, in a few words; None where it can."""
    if not isinstance(encoder, Inception):
        return f"OpenVINO runs GoogLeNet's kinds here, not {type(encoder).__name__}"
    if importlib.util.find_spec("openvino") is None:
        return "OpenVINO is not installed: python -m pip install 'vl[fast]'"
    return None


def on_openvino(encoder: nn.Module, *, bfloat16: bool = False) -> Callable[[Tensor], Tensor]:
    """An encoder's forward pass on OpenVINO, with as many threads as PyTorch has.

    The weights are copied: what becomes of the encoder later does not show. One thread at a time
    may call what is returned.

    Args:
        encoder: one of encoders/inception.py; heads and classifier are left out.
        bfloat16: convolve in bfloat16 where the processor can.

    Returns:
        ``(B, 3, H, W)`` RGB in [0, 1], float32, to ``(B, width)``, float32, as the encoder itself
        answers in evaluation mode. Any number and size of images may follow another.

    Raises:
        EngineError: OpenVINO is not installed or does not load, or it is another encoder.
    """
    reason = problem(encoder)
    if reason is not None:
        raise EngineError(reason)
    openvino = _openvino()
    threads, width = torch.get_num_threads(), encoder.width
    assert isinstance(width, int)
    settings = {
        # Its own choice is bfloat16 wherever the processor has it.
        "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
        # A thread for each piece of a batch: 5 to 10 % more than all threads on each layer of it.
        "NUM_STREAMS": str(threads),
        "INFERENCE_NUM_THREADS": threads,
        # Two processes would be pinned to the same cores.
        "ENABLE_CPU_PINNING": False,
    }
    try:
        compiled = openvino.Core().compile_model(_drawn(encoder), "CPU", settings)
    except RuntimeError as cause:  # it has no other class
        raise EngineError(f"OpenVINO cannot run it: {str(cause).strip()}") from cause

    # Requests that are waited for. OpenVINO's own queue calls back from threads of its own, and
    # stands still when it is let go while one of them waits for the interpreter.
    requests = [compiled.create_infer_request() for _ in range(threads)]

    def run(pixels: Tensor) -> Tensor:
        embeddings = torch.empty(len(pixels), width)
        under_way: dict[int, slice] = {}  # of each request its rows

        def keep(number: int) -> None:
            requests[number].wait()
            found = requests[number].get_output_tensor(0).data
            embeddings[under_way.pop(number)] = torch.from_numpy(found)

        for piece, begin in enumerate(range(0, len(pixels), _PIECE)):
            number = piece % threads
            if number in under_way:
                keep(number)
            under_way[number] = slice(begin, begin + _PIECE)
            requests[number].start_async({0: pixels[begin : begin + _PIECE].contiguous().numpy()})
        for number in list(under_way):
            keep(number)
        return embeddings

    return run


def _openvino() -> Any:
    """The package; it reports every import to its makers, unless openvino_telemetry is not found.

    Raises:
        EngineError: it does not load.
    """
    reporter = "openvino_telemetry"
    hidden = "openvino" not in sys.modules and reporter not in sys.modules
    if hidden:
        sys.modules[reporter] = None  # type: ignore[assignment]  # how Python is told "not there"
    try:
        import openvino
    except (ImportError, OSError) as cause:  # a shared library that is missing, most often
        raise EngineError(f"OpenVINO does not load: {cause}") from cause
    finally:
        if hidden:
            del sys.modules[reporter]
    return openvino


class _Folded(NamedTuple):
    """A convolution with its batch norm in it."""

    weight: Tensor  # (outputs, inputs, side, side), float64
    bias: Tensor  # (outputs,), float64


def _folded(layer: Convolution) -> _Folded:
    """Weight and bias such that what follows is the ReLU."""
    weight = layer.convolution.weight.detach().double()
    bias = torch.zeros(len(weight), dtype=torch.float64)
    if layer.convolution.bias is not None:
        bias = layer.convolution.bias.detach().double()
    if isinstance(layer.norm, nn.BatchNorm2d):
        norm = layer.norm
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None and variance is not None  # Convolution's norms have both
        scale = norm.weight.detach().double() / (variance.double() + norm.eps).sqrt()
        weight = weight * scale[:, None, None, None]
        bias = (bias - mean.double()) * scale + norm.bias.detach().double()
    return _Folded(weight, bias)


def _drawn(encoder: nn.Module) -> Any:
    """The encoder as OpenVINO's graph: mean, stem, nine modules, average."""
    openvino = _openvino()
    from openvino import opset8 as draw
    from openvino.opset1 import max_pool

    assert isinstance(encoder, Inception)  # problem() has seen to it

    def constant(values: Tensor) -> Any:
        return draw.constant(values.float().contiguous().numpy())

    def convolved(x: Any, layer: Convolution, *, std: Tensor | None = None) -> Any:
        weight, bias = _folded(layer)
        if std is not None:
            weight = weight / std.double()  # (1, 3, 1, 1): of the inputs
        stride, side = layer.convolution.stride[0], weight.shape[-1]
        half = [side // 2] * 2
        all_reduce = draw.convolution(x, constant(weight), [stride] * 2, half, half, [1, 1])
        return draw.relu(draw.add(all_reduce, constant(bias[:, None, None])))

    def pooled(x: Any, pool: nn.MaxPool2d) -> Any:
        pad = [pool.padding] * 2
        rounding = "ceil" if pool.ceil_mode else "floor"
        return max_pool(x, [pool.stride] * 2, pad, pad, [pool.kernel_size] * 2, rounding)

    def module(x: Any, part: InceptionModule) -> Any:
        three = convolved(convolved(x, part.three_reduce), part.three)
        five = convolved(convolved(x, part.five_reduce), part.five)
        projection = convolved(pooled(x, part.pool), part.projection)
        return draw.concat([convolved(x, part.one), three, five, projection], 1)

    pixels = draw.parameter([-1, 3, -1, -1], openvino.Type.f32)
    # The mean cannot go into the first convolution's bias, as its padding is 0 after the mean is
    # gone; the std can go into its weights.
    x = draw.subtract(pixels, constant(encoder.mean))
    for layer in encoder.stem:
        if isinstance(layer, Convolution):
            x = convolved(x, layer, std=encoder.std if layer is encoder.stem[0] else None)
        elif isinstance(layer, nn.MaxPool2d):
            x = pooled(x, layer)
        elif isinstance(layer, ResponseNorm):
            x = draw.lrn(x, draw.constant([1]), 1e-4, 0.75, 1.0, 5)  # over the channels
    for name, part in encoder.inception.items():
        assert isinstance(part, InceptionModule)
        x = module(x, part)
        if name in encoder.pool_after:
            after = encoder.pool_after[name]
            assert isinstance(after, nn.MaxPool2d)
            x = pooled(x, after)
    embedding = draw.reduce_mean(x, draw.constant([2, 3]), False)
    return openvino.Model([embedding], [pixels], "encoder")
