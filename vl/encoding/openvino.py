"""GoogLeNet on OpenVINO: PyTorch's embeddings up to rounding, faster on a CPU.

The graph is built layer by layer instead of by ``openvino.convert_model``, which takes 11 to 21 s a
start and runs at 1.75 times torchvision's rate where this graph takes 2 s and runs at 2.3 times
(docs/benchmarks.md).
"""

import copy
import importlib.util
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from vl.encoders.inception import Convolution, Inception, InceptionModule
from vl.encoders.response_norm import ResponseNorm

# Building and compiling the graph take about 2 s on two cores, and spare about 10 ms an image
# compared with eager PyTorch: below this many images they do not pay.
LEAST_IMAGES = 250
_PIECE = 8  # images that a thread takes at a time; 4 to 16 differ little


class EngineError(RuntimeError):
    """OpenVINO cannot run an encoder, and why."""


def unsupported_reason(encoder: nn.Module) -> str | None:
    """Why OpenVINO cannot run an encoder, in a few words; None if it can."""
    if not isinstance(encoder, Inception):
        return f"OpenVINO runs GoogLeNet variants here, not {type(encoder).__name__}"
    if importlib.util.find_spec("openvino") is None:
        return "OpenVINO is not installed: python -m pip install 'vl[fast]'"
    return None


def openvino_pays(
    encoders: Sequence[nn.Module], *, images: int, device: torch.device | str
) -> bool:
    """Whether OpenVINO can run the encoders and saves more time than it takes to start."""
    on_cpu = torch.device(device).type == "cpu"
    return on_cpu and images >= LEAST_IMAGES and not any(map(unsupported_reason, encoders))


def on_openvino(encoder: nn.Module, *, bfloat16: bool = False) -> Callable[[Tensor], Tensor]:
    """A copy of an encoder's forward pass on OpenVINO, with as many threads as PyTorch has.

    Args:
        encoder: one of encoders/inception.py; heads and classifier are left out.
        bfloat16: convolve in bfloat16 where the CPU can.

    Returns:
        ``(B, 3, H, W)`` to ``(B, width)``, float32, as the encoder gives in evaluation mode; for
        one thread at a time.

    Raises:
        EngineError: OpenVINO is not installed, cannot be imported, or cannot run this encoder.
    """
    reason = unsupported_reason(encoder)
    if reason is not None:
        raise EngineError(reason)
    openvino = _openvino()
    threads, width = torch.get_num_threads(), encoder.width
    assert isinstance(width, int)
    settings = {
        # By default OpenVINO uses bfloat16 wherever the CPU has it.
        "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
        # A thread for each piece of a batch: 5 to 10 % faster than all threads on each layer.
        "NUM_STREAMS": str(threads),
        "INFERENCE_NUM_THREADS": threads,
        # Two processes would be pinned to the same cores.
        "ENABLE_CPU_PINNING": False,
    }
    try:
        compiled = openvino.Core().compile_model(_graph(encoder), "CPU", settings)
    except RuntimeError as cause:  # OpenVINO has no exception class
        raise EngineError(f"OpenVINO cannot run it: {str(cause).strip()}") from cause

    # Requests and waits instead of OpenVINO's AsyncInferQueue: its callbacks run in its own
    # threads, and it deadlocks when it is deleted while one of them waits for the interpreter.
    requests = [compiled.create_infer_request() for _ in range(threads)]

    def run(pixels: Tensor) -> Tensor:
        embeddings = torch.empty(len(pixels), width)
        running: dict[int, slice] = {}  # by request, its rows

        def collect(request: int) -> None:
            requests[request].wait()
            output = requests[request].get_output_tensor(0).data
            embeddings[running.pop(request)] = torch.from_numpy(output)

        for piece, begin in enumerate(range(0, len(pixels), _PIECE)):
            request = piece % threads
            if request in running:
                collect(request)
            running[request] = slice(begin, begin + _PIECE)
            requests[request].start_async({0: pixels[begin : begin + _PIECE].contiguous().numpy()})
        for request in list(running):
            collect(request)
        return embeddings

    return run


def _openvino() -> Any:
    """The package, imported without its telemetry, which it sends if openvino_telemetry is there.

    Raises:
        EngineError: the import fails.
    """
    telemetry = "openvino_telemetry"
    hide = "openvino" not in sys.modules and telemetry not in sys.modules
    if hide:
        sys.modules[telemetry] = None  # type: ignore[assignment]  # makes its import fail
    try:
        import openvino
    except (ImportError, OSError) as cause:  # a missing shared library, most often
        raise EngineError(f"OpenVINO cannot be imported: {cause}") from cause
    finally:
        if hide:
            del sys.modules[telemetry]
    return openvino


def _folded(layer: Convolution) -> tuple[Tensor, Tensor]:
    """Weight and bias, float64, of the convolution with its batch normalization."""
    layer = copy.deepcopy(layer).double().eval()
    convolution = layer.convolution
    if isinstance(layer.norm, nn.BatchNorm2d):
        convolution = fuse_conv_bn_eval(convolution, layer.norm)
    assert convolution.bias is not None  # those without have a norm
    return convolution.weight.detach(), convolution.bias.detach()


def _graph(encoder: nn.Module) -> Any:
    """The encoder as an OpenVINO model: mean, stem, nine modules, global average pool."""
    openvino = _openvino()
    from openvino import opset8 as ops
    from openvino.opset1 import max_pool

    assert isinstance(encoder, Inception)  # see unsupported_reason

    def constant(values: Tensor) -> Any:
        return ops.constant(values.float().contiguous().numpy())

    def convolve(x: Any, layer: Convolution, *, std: Tensor | None = None) -> Any:
        weight, bias = _folded(layer)
        if std is not None:
            weight = weight / std.double()  # (1, 3, 1, 1): of the input channels
        stride, kernel_size = layer.convolution.stride[0], weight.shape[-1]
        padding = [kernel_size // 2] * 2
        products = ops.convolution(x, constant(weight), [stride] * 2, padding, padding, [1, 1])
        return ops.relu(ops.add(products, constant(bias[:, None, None])))

    def pool(x: Any, layer: nn.MaxPool2d) -> Any:
        padding = [layer.padding] * 2
        rounding = "ceil" if layer.ceil_mode else "floor"
        kernel_size = [layer.kernel_size] * 2
        return max_pool(x, [layer.stride] * 2, padding, padding, kernel_size, rounding)

    def module(x: Any, part: InceptionModule) -> Any:
        three = convolve(convolve(x, part.three_reduce), part.three)
        five = convolve(convolve(x, part.five_reduce), part.five)
        projection = convolve(pool(x, part.pool), part.projection)
        return ops.concat([convolve(x, part.one), three, five, projection], 1)

    pixels = ops.parameter([-1, 3, -1, -1], openvino.Type.f32)
    # The mean cannot be folded into the first convolution's bias, as its padding is 0 after the
    # subtraction; the std can be folded into its weights.
    x = ops.subtract(pixels, constant(encoder.mean))
    for layer in encoder.stem:
        if isinstance(layer, Convolution):
            x = convolve(x, layer, std=encoder.std if layer is encoder.stem[0] else None)
        elif isinstance(layer, nn.MaxPool2d):
            x = pool(x, layer)
        elif isinstance(layer, ResponseNorm):
            x = ops.lrn(x, ops.constant([1]), 1e-4, 0.75, 1.0, 5)  # over the channels
    for name, part in encoder.inception.items():
        assert isinstance(part, InceptionModule)
        x = module(x, part)
        if name in encoder.pool_after:
            after = encoder.pool_after[name]
            assert isinstance(after, nn.MaxPool2d)
            x = pool(x, after)
    embedding = ops.reduce_mean(x, ops.constant([2, 3]), False)
    return openvino.Model([embedding], [pixels], "encoder")
