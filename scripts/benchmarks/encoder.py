"""The encoder alone, pixels in memory: inference and training, beside torchvision and engines."""

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from benchmarks.timing import Target, in_turn, spread
from vl.data.choices import Precision
from vl.devices import bfloat16_is_faster
from vl.encoders.inception import Inception, inception_v1, inception_v1_bn
from vl.encoders.weights import load_caffe
from vl.encoding.embedder import Embedder
from vl.encoding.openvino import unsupported_reason

_BASE = "torchvision float32 eager"
_EXPORTED = "exported, on"  # rivals that run our own network

Runs = dict[str, Callable[[], Any]]
TARGETS = (
    Target("inference.ratio.ours float32 OpenVINO", minimum=2.5),
    Target("inference.ratio_to_best_engine.ours float32 OpenVINO", minimum=0.9),
    Target("training.ratio.ours float32 eager", minimum=1.5),
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this benchmark."""
    parser.add_argument("--weights", type=Path, help="BVLC's blobs; random ones without")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)


def measure(flags: argparse.Namespace) -> dict[str, Any]:
    """Images per second of GoogLeNet, ours and torchvision's eager in float32, and ratios.

    The rivals of a part take turns on the same batch; a ratio is the median over rounds. Start-up
    is timed apart. Where they are installed, ONNX Runtime and OpenVINO also run our network as
    PyTorch exports it, with as many threads as PyTorch and default settings otherwise.
    """
    torch.manual_seed(0)
    pixels = torch.rand(flags.batch_size, 3, 224, 224, device=flags.device)
    ours = inception_v1()
    if flags.weights:
        load_caffe(ours, flags.weights)
    inference = _inference(ours, pixels, flags.rounds)
    # A new network: the one above is in evaluation mode, with its weights fixed.
    return {"batch_size": flags.batch_size, **inference, **_training(pixels, flags.rounds)}


def _inference(ours: Inception, pixels: Tensor, rounds: int) -> dict[str, Any]:
    device = pixels.device
    theirs = torchvision_googlenet().eval().to(device)
    runs: Runs = {_BASE: torch.inference_mode()(lambda: theirs(pixels))}
    start: dict[str, float] = {}
    with torch.inference_mode():
        expected = ours.eval().to(device)(pixels)
    error: dict[str, float] = {}
    precisions: list[Precision] = ["float32"]
    if bfloat16_is_faster(device):
        precisions.append("bfloat16")
    runtimes = ["eager", "torch.compile"]
    if device.type == "cpu" and not unsupported_reason(ours):
        runtimes.append("OpenVINO")
    for precision in precisions:
        for runtime in runtimes:
            name = f"ours {precision} {runtime}"
            begin = time.perf_counter()
            embedder = Embedder(
                ours,
                encoder_name="inception_v1",
                device=device,
                precision=precision,
                batch_size=len(pixels),
            )
            if runtime == "torch.compile":
                embedder.compile()
            elif runtime == "OpenVINO":
                embedder.use_openvino()
            outputs = embedder.encode(pixels)[:, 0]
            start[name] = time.perf_counter() - begin
            error[name] = float((outputs - expected).abs().max() / expected.abs().max())
            runs[name] = partial(embedder.encode, pixels)
    if device.type == "cpu":
        runs |= _engines(ours, pixels)
    results, seconds = _timed(runs, len(pixels), rounds)
    rivals = [name for name in runs if name.startswith(_EXPORTED)]
    if rivals:
        best = max(rivals, key=lambda name: results["images_per_second"][name]["median"])
        results |= {"best_engine": best, "ratio_to_best_engine": _ratios(seconds, best)}
    return {
        "inference": {
            **results,
            "start_seconds": {name: round(value, 1) for name, value in start.items()},
            "largest_error": {name: float(f"{value:.1e}") for name, value in error.items()},
        }
    }


def _engines(ours: Inception, pixels: Tensor) -> Runs:
    """Our network as PyTorch exports it, on the installed engines."""
    engines = [
        name for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name) is not None
    ]
    if not engines or importlib.util.find_spec("onnxscript") is None:
        return {}
    threads, values, runs = torch.get_num_threads(), pixels.numpy(), Runs()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "encoder.onnx")
        batch = torch.export.Dim("batch")
        torch.onnx.export(
            ours,
            (pixels[:2],),
            path,
            dynamic_shapes=({0: batch},),
            external_data=False,
            verbose=False,
        )
        if "onnxruntime" in engines:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            session = onnxruntime.InferenceSession(path, options)
            feed = {session.get_inputs()[0].name: values}
            runs[f"{_EXPORTED} onnxruntime"] = lambda: session.run(None, feed)
        if "openvino" in engines:
            import openvino

            settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
            compiled = openvino.Core().compile_model(path, "CPU", settings)
            runs[f"{_EXPORTED} openvino"] = lambda: compiled(values)
    return runs


def _training(pixels: Tensor, rounds: int) -> dict[str, Any]:
    """A step: forward, cross-entropy, backward, SGD with momentum; no auxiliary heads."""
    labels = torch.arange(len(pixels), device=pixels.device)
    theirs = torchvision_googlenet().train().to(pixels.device)
    last = pixels.contiguous(memory_format=torch.channels_last)
    # torch.compile gains nothing here and takes minutes: docs/benchmarks.md.
    runs = {_BASE: _step(theirs, theirs, pixels, labels)}
    for name, build in {"": inception_v1, " with batch norm": inception_v1_bn}.items():
        for precision in ("float32", "bfloat16"):
            ours = build().train().to(pixels.device).to(memory_format=torch.channels_last)
            logits = partial(_logits, ours, bfloat16=precision == "bfloat16")
            runs[f"ours{name} {precision} eager"] = _step(ours, logits, last, labels)
    return {"training": _timed(runs, len(pixels), rounds)[0]}


def _logits(ours: Inception, pixels: Tensor, *, bfloat16: bool) -> Tensor:
    with torch.autocast(pixels.device.type, dtype=torch.bfloat16, enabled=bfloat16):
        return ours.classify(pixels).main


def _step(
    module: nn.Module, logits: Callable[[Tensor], Tensor], pixels: Tensor, labels: Tensor
) -> Callable[[], None]:
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9)

    def run() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(logits(pixels), labels))
        optimizer.step()

    return run


def torchvision_googlenet() -> nn.Module:
    """The rival, randomly initialized, without its own normalization and auxiliary heads."""
    return torchvision.models.googlenet(
        weights=None, init_weights=False, aux_logits=False, transform_input=False
    )


def _timed(runs: Runs, images: int, rounds: int) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Images per second and ratios, and the seconds of each round."""
    seconds = in_turn(runs, rounds)
    rates = {name: spread([images / value for value in times]) for name, times in seconds.items()}
    return {"images_per_second": rates, "ratio": _ratios(seconds, _BASE)}, seconds


def _ratios(seconds: dict[str, list[float]], base: str) -> dict[str, float]:
    """Speed over the base, the median over rounds."""
    return {
        name: round(statistics.median(b / a for a, b in zip(times, seconds[base], strict=True)), 2)
        for name, times in seconds.items()
        if name != base
    }
