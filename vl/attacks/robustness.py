"""Robust accuracy of a classifier: error rate and confidence under white-box attacks.

The attacks know the true classes and raise their loss, as in Goodfellow et al. 2015.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from vl.attacks.attack import AttackConfig, read_inputs
from vl.data.labelled.folders import LabelledImage
from vl.encoding.accuracy import wilson_interval
from vl.encoding.classes import class_indices
from vl.inputs import error_message
from vl.terminal import ProgressBar
from vl.training.adversarial import classifier_loss

if TYPE_CHECKING:
    from vl.attacks.targets import TargetClassifier


class AttackResult(NamedTuple):
    """A classifier's errors under an attack."""

    attack: AttackConfig
    images: int
    errors: int  # misclassified images, those misclassified without the attack included
    confidence: float | None  # mean probability of the wrong classes; None without errors

    def record(self) -> dict[str, Any]:
        """The result as it stands in JSON."""
        return {
            **self.attack.record(),
            "images": self.images,
            "errors": self.errors,
            "error_rate": self.errors / self.images,
            "error_interval": wilson_interval(self.errors, self.images),
            "confidence": self.confidence,
        }


def evaluate_robustness(
    model: "TargetClassifier",
    images: Sequence[LabelledImage],
    attacks: Sequence[AttackConfig],
    *,
    batch_size: int = 8,
) -> list[AttackResult]:
    """Evaluate a classifier on image files with their classes, clean and attacked.

    Files that cannot be read are reported on stderr and left out.

    Raises:
        ValueError: a class is unknown to the classifier, or no image can be read.
    """
    class_of = class_indices(list(dict.fromkeys(image.label for image in images)), model.classes)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        failures = 0
        with ProgressBar("attack", len(images), unit="images") as bar:
            for batch in read_inputs(model, [image.path for image in images], batch_size):
                if batch.indices:
                    labels = [class_of[images[index].label] for index in batch.indices]
                    pixels = torch.stack(batch.results).to(model.device)
                    yield pixels, torch.tensor(labels, device=model.device)
                for _, error in batch.failures:
                    bar.print(error_message(error))
                failures += len(batch.failures)
                bar.advance(len(batch.indices) + len(batch.failures))
        if failures == len(images):
            raise ValueError(f"none of the {failures} images could be read")

    return attack_errors(model.logits, batches(), attacks)


def attack_errors(
    logits: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    attacks: Sequence[AttackConfig],
) -> list[AttackResult]:
    """Count a classifier's errors under several attacks.

    Args:
        logits: ``(B, 3, H, W)`` in [0, 1] to ``(B, classes)``, in evaluation mode.
        batches: pixels ``(B, 3, H, W)`` in [0, 1], and the true classes, ``(B,)``, int64; at least
            one batch.
        attacks: settings within their ranges.

    Raises:
        ValueError: the logits are not finite.
    """
    images, errors, confidence = 0, [0] * len(attacks), [0.0] * len(attacks)
    for pixels, labels in batches:
        loss = classifier_loss(logits, labels)
        images += len(labels)
        for index, attack in enumerate(attacks):
            adversarial = attack.apply(pixels, loss)
            with torch.no_grad():
                probabilities = logits(adversarial).float().softmax(1)  # (B, classes)
            if not bool(probabilities.isfinite().all()):
                raise ValueError(f"logits are not finite at epsilon {attack.epsilon}")
            best = probabilities.max(1)
            wrong = best.indices != labels  # (B,)
            errors[index] += int(wrong.sum())
            confidence[index] += float(best.values[wrong].double().sum())
    return [
        AttackResult(attack, images, count, total / count if count else None)
        for attack, count, total in zip(attacks, errors, confidence, strict=True)
    ]


def attack_grid(
    epsilons: Sequence[float], *, steps: int, step_size: float | None = None
) -> list[AttackConfig]:
    """No attack; then for each epsilon the fast gradient sign attack and its iterated form.

    An epsilon of 0 adds nothing; a single step leaves the iterated form out.

    Raises:
        ValueError: an epsilon occurs twice.
    """
    if len(set(epsilons)) < len(epsilons):
        raise ValueError(f"epsilons contain duplicates: {' '.join(map(str, epsilons))}")
    attacks = [AttackConfig(0.0)]
    for epsilon in filter(None, epsilons):
        attacks.append(AttackConfig(epsilon))
        attacks += [AttackConfig(epsilon, steps, step_size)] if steps != 1 else []
    return attacks


def robustness_table(results: Sequence[AttackResult]) -> list[str]:
    """Results as lines of text: percentages, with the 95 % Wilson interval."""
    columns = ("epsilon", "steps", "images", "errors", "error %", "95 % interval", "confidence %")
    rows = [columns]
    for record in (result.record() for result in results):
        low, high = record["error_interval"]
        confidence = record["confidence"]
        rows.append(
            (
                f"{record['epsilon']:g}",
                str(record["steps"]),
                str(record["images"]),
                str(record["errors"]),
                f"{100 * record['error_rate']:.1f}",
                f"{100 * low:.1f} to {100 * high:.1f}",
                "-" if confidence is None else f"{100 * confidence:.1f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.rjust, row, widths)) for row in rows]
