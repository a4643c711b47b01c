"""Attack image files: adversarial images as PNG files, and the model's output for each.

The attacks are the fast gradient sign method and its iterated form (vl/training/adversarial.py).
The files keep their bound, and are what decides whether an attack succeeded.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from vl.attacks.attack import AttackConfig, Confidence, Output, TargetModel, read_inputs
from vl.attacks.sheet import Row
from vl.data.files import atomic_write
from vl.data.images.decode import decode
from vl.data.outputs import PNG, check_kind, check_no_inputs
from vl.data.tsv import tsv_line

_ROUNDING = 5e-5  # of float32 pixels in [0, 1] times 255
STAGES = ("clean", "adversarial", "saved")  # the last is read back from the 8-bit file


class Stage(NamedTuple):
    """An image at one of ``STAGES`` with the model's output."""

    pixels: Tensor  # (3, S, S)
    output: Output
    confidence: Confidence  # in the output
    target_confidence: Confidence  # in what the attack raises or lowers
    success: bool

    def record(self, clean: Tensor) -> dict[str, Any]:
        """The stage as it stands in JSON."""
        return {
            "output": self.output.text,
            **self.confidence,
            "target": self.target_confidence,
            "success": self.success,
            "max_change": float((self.pixels - clean).abs().max()),
        }


class AttackedImage(NamedTuple):
    """An image file before and after the attack."""

    path: Path
    file: Path  # the adversarial image
    stages: tuple[Stage, ...]  # of STAGES

    def record(self, config: AttackConfig, target: Output | None) -> dict[str, Any]:
        """The image as it stands in JSON."""
        clean = self.stages[0].pixels
        return {
            "path": str(self.path),
            "file": str(self.file),
            **config.record(),
            "target": target.text if target else None,
            **{name: stage.record(clean) for name, stage in zip(STAGES, self.stages, strict=True)},
        }

    def lines(self) -> list[str]:
        """A tab-separated line a stage: path, stage, output, both confidences, success."""
        lines = []
        for name, stage in zip(STAGES, self.stages, strict=True):
            confidences = map(_main_confidence, (stage.confidence, stage.target_confidence))
            success = "yes" if stage.success else "no"
            lines.append(tsv_line(str(self.path), name, stage.output.text, *confidences, success))
        return lines

    def sheet_row(self, target: Output | None) -> Row:
        """The clean and the saved image side by side on a contact sheet."""
        clean, _, saved = self.stages
        outcome = "success" if saved.success else "failure"
        attack = f"target {target.text!r}" if target else "untargeted"
        return Row(
            clean.pixels,
            saved.pixels,
            (clean.output.text, _named(clean.confidence)),
            (f"{attack}: {outcome}", "/".join(self.path.parts[-2:])),  # a folder may be a class
            (saved.output.text, _named(saved.confidence)),
        )


def attack_images(
    model: TargetModel,
    paths: Sequence[Path],
    files: Sequence[Path],
    config: AttackConfig,
    *,
    target: Output | None = None,
    batch_size: int = 8,
) -> Iterator[AttackedImage | Exception]:
    """Attack image files and write the adversarial images to ``files``, see ``output_files``.

    Gives the errors of a batch's unreadable files, and then its images.
    Without a target, the attack lowers the confidence in the output for the clean image.
    """
    for batch in read_inputs(model, paths, batch_size):
        yield from (error for _, error in batch.failures)
        if batch.indices:
            sources = [paths[index] for index in batch.indices]
            outputs = [files[index] for index in batch.indices]
            stages = _attack(model, torch.stack(batch.results), outputs, config, target)
            yield from map(AttackedImage, sources, outputs, stages)


def output_files(paths: Sequence[Path], folder: Path, *, overwrite: bool = False) -> list[Path]:
    """A PNG file in a folder for each image, named like it.

    Where two images have one name, all names begin with that of the image's folder.

    Raises:
        ValueError: two images would have one file, or a file would replace an image that is read,
            or, without ``overwrite``, another file than an adversarial image.
    """
    for name in (lambda path: path.stem, lambda path: f"{path.resolve().parent.name}-{path.stem}"):
        files = [folder / f"{name(path)}.png" for path in paths]
        first_of: dict[str, Path] = {}
        clashes = [
            (first, path, file)
            for path, file in zip(paths, files, strict=True)
            # Some file systems ignore case.
            if (first := first_of.setdefault(file.name.casefold(), path)) != path
        ]
        if not clashes:
            break
    else:
        first, path, file = clashes[0]
        raise ValueError(f"{first} and {path} would both be written to {file}")
    check_no_inputs(files, paths)
    if not overwrite:
        for file in files:
            check_kind(file, PNG, cure="choose another folder, or replace it with --overwrite")
    return files


def _attack(
    model: TargetModel,
    clean: Tensor,
    files: Sequence[Path],
    config: AttackConfig,
    target: Output | None,
) -> list[tuple[Stage, ...]]:
    """Attack ``(B, 3, S, S)`` images; the stages of each."""
    outputs = model.predict(clean)
    targets = [target] * len(clean) if target else outputs
    adversarial = config.apply(
        clean.to(model.device), model.loss(targets), targeted=target is not None
    ).cpu()
    for file, pixels in zip(files, round_within(adversarial, clean, config.epsilon), strict=True):
        _write_png(file, pixels)
    saved = torch.stack([decode(file) for file in files])
    stages = []
    for pixels in (clean, adversarial, saved):
        predictions = outputs if pixels is clean else model.predict(pixels)
        success = [
            prediction.text == target.text if target else prediction.text != output.text
            for prediction, output in zip(predictions, outputs, strict=True)
        ]
        confidence = model.confidence(pixels, predictions)
        columns = (pixels, predictions, confidence, model.confidence(pixels, targets), success)
        stages.append([Stage(*row) for row in zip(*columns, strict=True)])
    return list(zip(*stages, strict=True))


def round_within(pixels: Tensor, clean: Tensor, epsilon: float) -> Tensor:
    """Pixels as uint8, each the nearest to it that is within ``epsilon`` of the clean one.

    Where there is none, as can be for an ``epsilon`` below 1/510 of an image that was resized, it
    is the nearest to the clean one.

    Args:
        pixels: any shape, in [0, 1], within ``epsilon`` of ``clean``.
        clean: of the same shape, in [0, 1].
        epsilon: maximum change of a pixel value, of a range of 1.
    """
    exact = clean.double() * 255
    lowest = (exact - epsilon * 255 - _ROUNDING).ceil()
    highest = (exact + epsilon * 255 + _ROUNDING).floor()
    rounded = (pixels.double() * 255).round().clamp(lowest, highest)
    return torch.where(lowest <= highest, rounded, exact.round()).clamp(0, 255).to(torch.uint8)


def _write_png(path: Path, pixels: Tensor) -> None:
    """Write ``(3, S, S)`` uint8."""
    values = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())  # (S, S, 3)
    content, metadata = io.BytesIO(), PngInfo()
    metadata.add_text("Software", "vl")  # by which `vl.data.outputs` knows that it may be replaced
    Image.fromarray(values).save(content, "PNG", pnginfo=metadata)
    with atomic_write(path) as beside:
        beside.write_bytes(content.getvalue())


def _main_confidence(confidence: Confidence) -> str:
    """The probability if there is one, else the cosine."""
    return [f"{value:.4f}" for value in confidence.values() if value is not None][-1]


def _named(confidence: Confidence) -> str:
    return ", ".join(
        f"{name.replace('_', '-')} {value:.3f}"
        for name, value in confidence.items()
        if value is not None
    )
