"""How often a classifier errs on pictures changed to mislead it, and how sure it then is.

It counts, batch by batch; how pictures are changed is vl/training/adversarial.py's. The attacks know the true
classes and raise the loss of these, as in Goodfellow et al. 2015.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vl.encoding.evaluation import interval
from vl.training.adversarial import (
    basic_iterative,
    check_numbers,
    classifier_loss,
    default_step_size,
)


class Attack(NamedTuple):
    """How pictures are changed."""

    epsilon: float  # how far each number of a pixel may move, of a range of 1; 0 changes nothing
    steps: int = 1  # 1 is the fast gradient sign
    step_size: float | None = None  # by default see vl.attack.default_step_size


class Errors(NamedTuple):
    """What an attack brought about."""

    attack: Attack
    images: int
    wrong: int  # of these; a picture that was wrong unchanged counts as well
    confidence: float | None  # mean probability of the wrong answers; None if there is none

    @property
    def share(self) -> float:
        """Wrong answers, of 1."""
        return self.wrong / self.images


class Robustness:
    """Counts a classifier's errors under several attacks.

    Args:
        logits: ``(B, 3, H, W)`` in [0, 1] to ``(B, classes)``, in evaluation mode.
        attacks: each once.

    Raises:
        ValueError: there is no attack, one is there twice, or a number is out of its range.
    """

    def __init__(self, logits: Callable[[Tensor], Tensor], attacks: Sequence[Attack]) -> None:
        if not attacks:
            raise ValueError("there is no attack to count the errors under")
        for number, attack in enumerate(attacks):
            check_numbers(epsilon=attack.epsilon, steps=attack.steps, step_size=attack.step_size)
            if attack in attacks[:number]:
                raise ValueError(
                    f"epsilon {attack.epsilon} with {attack.steps} steps is there twice"
                )
        self._logits = logits
        self._attacks = tuple(attacks)
        self._images = 0
        self._wrong = [0] * len(attacks)
        self._sure = [0.0] * len(attacks)  # the sum of the wrong answers' probabilities

    def add(self, pixels: Tensor, labels: Tensor) -> None:
        """Attack and count a batch.

        Args:
            pixels: ``(B, 3, H, W)`` in [0, 1]; never written into.
            labels: the true classes, ``(B,)``, int64, where the logits are.

        Raises:
            ValueError: see ``vl.training.adversarial.basic_iterative``; or an answer is not a number.
        """
        loss = classifier_loss(self._logits, labels)
        for number, attack in enumerate(self._attacks):
            changed = basic_iterative(
                pixels,
                loss,
                epsilon=attack.epsilon,
                steps=attack.steps,
                step_size=attack.step_size,
            )
            with torch.no_grad():
                probabilities = self._logits(changed).float().softmax(1)  # (B, classes)
            if not bool(probabilities.isfinite().all()):
                raise ValueError(f"with epsilon {attack.epsilon} an answer is not a number")
            best = probabilities.max(1)
            wrong = best.indices != labels  # (B,)
            self._wrong[number] += int(wrong.sum())
            self._sure[number] += float(best.values[wrong].double().sum())
        self._images += len(labels)

    def errors(self) -> list[Errors]:
        """What was counted so far, in the order of the attacks.

        Raises:
            ValueError: no picture was counted.
        """
        if not self._images:
            raise ValueError("no picture was attacked")
        return [
            Errors(attack, self._images, wrong, sure / wrong if wrong else None)
            for attack, wrong, sure in zip(self._attacks, self._wrong, self._sure, strict=True)
        ]


def attacks_of(
    epsilons: Sequence[float], *, steps: int, step_size: float | None = None
) -> list[Attack]:
    """No attack first; then of each size the fast gradient sign, and after it the iterated form.

    Args:
        epsilons: sizes, of a range of 1; 0 adds nothing.
        steps: of the iterated form; with 1 it is left out.
        step_size: of each of these steps.

    Raises:
        ValueError: a size is there twice.
    """
    if len(set(epsilons)) < len(epsilons):
        raise ValueError(f"epsilons are {' '.join(map(str, epsilons))}; one is there twice")
    found = [Attack(0.0)]
    for epsilon in epsilons:
        if epsilon != 0:
            found.append(Attack(epsilon))
            found += [Attack(epsilon, steps, step_size)] if steps != 1 else []
    return found


def record(errors: Errors) -> dict[str, Any]:
    """The figures by the names that a JSON line gives them; shares are of 1."""
    epsilon, steps, size = errors.attack
    return {
        "eps": epsilon,
        "steps": steps if epsilon else 0,
        "step_size": default_step_size(epsilon, steps) if size is None else size,
        "images": errors.images,
        "wrong": errors.wrong,
        "error": errors.share,
        "error_interval": interval(errors.wrong, errors.images),
        "confidence": errors.confidence,
    }


def table(errors: Sequence[Errors]) -> list[str]:
    """The figures as lines for people: hundredths, with Wilson's 95 % interval."""
    lines = [f"{'eps':>8}{'steps':>7}{'images':>8}{'wrong':>7}{'%':>7}{'95 %':>15}{'sure %':>8}"]
    for each in errors:
        told = record(each)
        low, high = told["error_interval"]
        sure = "-" if each.confidence is None else f"{100 * each.confidence:.1f}"
        lines.append(
            f"{told['eps']:8g}{told['steps']:7}{each.images:8}{each.wrong:7}"
            f"{100 * each.share:7.1f}{f'{100 * low:.1f} to {100 * high:.1f}':>15}{sure:>8}"
        )
    return lines
