"""The fast gradient sign, once or iterated: pixels changed a little so that a model is much wrong.

It knows pixels and a loss; which models there are and what they say is vl/attacks/targets.py's.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# What an attack raises or lowers: (B, 3, H, W) pixels in [0, 1] to the loss of each image, (B,).
# The model's mean and scale are inside. Where no image's loss depends on another image's pixels,
# as in evaluation mode, the batch changes no result.
Loss = Callable[[Tensor], Tensor]


def fast_gradient_sign(
    pixels: Tensor, loss: Loss, *, epsilon: float, targeted: bool = False
) -> Tensor:
    """Pixels after one step along the sign of the loss's gradient.

    Args:
        pixels: ``(B, 3, H, W)`` in [0, 1]; never written into.
        loss: to be raised; of each image.
        epsilon: how far each number may move, of a range of 1; 0.007 in the paper's figure 1.
        targeted: the loss is to be lowered instead, as that of what the model shall say.

    Returns:
        New pixels of the same shape and dtype, on the same device, in [0, 1], each number no
        further than ``epsilon`` from what it was. They carry no graph, and no weight's ``grad`` is
        touched. With ``epsilon`` 0 no bit differs.

    Raises:
        ValueError: see ``basic_iterative``.

    Source:
        Goodfellow et al. 2015 ("Explaining and Harnessing Adversarial Examples"), section 4.
    """
    return basic_iterative(
        pixels, loss, epsilon=epsilon, steps=1, step_size=epsilon, targeted=targeted
    )


def basic_iterative(
    pixels: Tensor,
    loss: Loss,
    *,
    epsilon: float,
    steps: int,
    step_size: float | None = None,
    targeted: bool = False,
) -> Tensor:
    """Pixels after several smaller steps, each brought back to what ``epsilon`` allows.

    Args:
        pixels: ``(B, 3, H, W)`` in [0, 1]; never written into.
        loss: to be raised; of each image.
        epsilon: how far each number may move from where it began, of a range of 1.
        steps: how many; one of size ``epsilon`` is the fast gradient sign.
        step_size: of a range of 1; by default see ``default_step_size``.
        targeted: the loss is to be lowered instead.

    Returns:
        As ``fast_gradient_sign``.

    Raises:
        ValueError: pixels have another shape, are whole numbers or outside [0, 1]; a number is out
            of its range; or the loss is not one number an image, has no gradient by the pixels, or
            one that is not finite.

    Source:
        Kurakin et al. 2017 ("Adversarial Examples in the Physical World"), section 2.2; one step
        is Goodfellow et al. 2015. Both here follow the label that the loss was made with; Kurakin's
        targeted form takes the least likely one.
    """
    _check_pixels(pixels)
    check_numbers(epsilon=epsilon, steps=steps, step_size=step_size)
    size = default_step_size(epsilon, steps) if step_size is None else step_size
    # A gradient is wanted even by who otherwise wants none.
    with torch.inference_mode(False), torch.enable_grad():
        origin = pixels.detach().clone()
        if epsilon == 0:  # else -0.0 would become 0.0
            return origin
        changed = origin
        for _ in range(steps):
            given = changed.detach().requires_grad_()
            slope = _slope(given, _losses(loss, given))
            _check_finite(slope)
            changed = _moved(changed, slope, size=-size if targeted else size)
            changed = _allowed(changed, origin, epsilon)
        return changed


def adversarial_loss(pixels: Tensor, loss: Loss, *, epsilon: float, alpha: float = 0.5) -> Tensor:
    """What adversarial training lowers: ``alpha J(x) + (1 - alpha) J(x')`` of each image.

    ``x'`` is x after the fast gradient sign, made with the weights as they are now. The weights get
    their gradient from both terms, and none through the sign: to them ``x'`` is a constant. The
    loss is called twice, so that batch normalisation counts the clean images and the changed ones.

    Args:
        pixels: ``(B, 3, H, W)`` in [0, 1]; never written into, and they get no gradient. Their
            range is not looked at, which would make a GPU wait.
        loss: of each image; usually a ``classifier_loss`` with the true labels.
        epsilon: how far each number may move, of a range of 1.
        alpha: weight of the clean images; 0.5 in the paper.

    Returns:
        ``(B,)``; not finite where the loss or its gradient by the pixels is not.

    Raises:
        ValueError: pixels have another shape; a number is out of its range; or the loss is not one
            number an image or has no gradient by the pixels.

    Source:
        Goodfellow et al. 2015, section 6.
    """
    _check_shape(pixels)
    check_numbers(epsilon=epsilon, steps=1, step_size=None)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it must be from 0 to 1")
    origin = pixels.detach().clone()
    with torch.enable_grad():
        given = origin.clone().requires_grad_()
        clean = _losses(loss, given)
        slope = _slope(given, clean, again=True)
    changed = origin
    if epsilon > 0:
        changed = _allowed(_moved(origin, slope, size=epsilon), origin, epsilon)
    return alpha * clean + (1 - alpha) * _losses(loss, changed)


def classifier_loss(logits: Callable[[Tensor], Tensor], labels: Tensor) -> Loss:
    """The cross-entropy of a classifier, of each image.

    Args:
        logits: pixels to ``(B, classes)``: ``lambda pixels: encoder.classify(pixels).main``. Where
            a dropout or batch normalisation is not in evaluation mode, the loss varies with it.
        labels: class of each image, ``(B,)``, int64: the true ones, those that an attack wants, or
            ``own_labels``.
    """
    return lambda pixels: F.cross_entropy(logits(pixels), labels, reduction="none")


@torch.no_grad()
def own_labels(logits: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """The class that a classifier finds likeliest for each image, ``(B,)``, int64.

    With these an attack needs no true label, and none leaks into it.
    """
    return logits(pixels).argmax(1)


def default_step_size(epsilon: float, steps: int) -> float:
    """How far each step goes if nobody says: enough to reach any corner that is allowed, and on.

    Source:
        Madry et al. 2018, section 5: 2.5 epsilon over the steps; never beyond epsilon, which for
        one step is the fast gradient sign.
    """
    return min(epsilon, 2.5 * epsilon / steps)


def check_numbers(*, epsilon: float, steps: int, step_size: float | None) -> None:
    """See that an attack can have these numbers.

    Raises:
        ValueError: it cannot.
    """
    if not 0 <= epsilon <= 1:  # NaN is not either
        raise ValueError(f"epsilon is {epsilon}; it must be from 0 to 1, the range of a pixel")
    if steps < 1:
        raise ValueError(f"steps is {steps}; it must be at least 1")
    if step_size is not None and not 0 <= step_size <= 1:
        raise ValueError(f"step size is {step_size}; it must be from 0 to 1, the range of a pixel")


def _losses(loss: Loss, pixels: Tensor) -> Tensor:
    losses = loss(pixels)
    if losses.shape != pixels.shape[:1]:
        raise ValueError(
            f"the loss has shape {tuple(losses.shape)} for {len(pixels)} images; "
            "expected one number an image"
        )
    return losses


def _slope(pixels: Tensor, losses: Tensor, *, again: bool = False) -> Tensor:
    """The gradient of each image's loss by its own pixels, of the pixels' shape.

    Args:
        pixels: that the losses were computed from.
        losses: ``(B,)``.
        again: the graph is kept, as it will be gone through once more.
    """
    if not losses.requires_grad:
        raise ValueError("the loss has no gradient: it was computed without one")
    (slope,) = torch.autograd.grad(losses.sum(), pixels, retain_graph=again, allow_unused=True)
    if slope is None:
        raise ValueError("the loss does not depend on the pixels, or its gradient was cut off")
    return slope.detach()


def _moved(pixels: Tensor, slope: Tensor, *, size: float) -> Tensor:
    return pixels.detach() + size * slope.sign()


def _allowed(changed: Tensor, origin: Tensor, epsilon: float) -> Tensor:
    """What of a change is within epsilon and within [0, 1]."""
    return changed.clamp(origin - epsilon, origin + epsilon).clamp(0, 1)


def _check_shape(pixels: Tensor) -> None:
    if pixels.ndim != 4 or pixels.shape[1] != 3 or not pixels.is_floating_point():
        raise ValueError(
            f"pixels are {pixels.dtype} of shape {tuple(pixels.shape)}; "
            "expected float of shape (B, 3, H, W)"
        )


def _check_pixels(pixels: Tensor) -> None:
    _check_shape(pixels)
    if pixels.numel() and not bool(((pixels >= 0) & (pixels <= 1)).all()):  # NaN is neither
        raise ValueError(
            f"pixels lie from {float(pixels.min()):g} to {float(pixels.max()):g}; expected [0, 1]"
        )


def _check_finite(slope: Tensor) -> None:
    finite = slope.isfinite().flatten(1).all(1)  # (B,)
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0, 0])
        raise ValueError(f"the loss of image {first} has a gradient that is not finite")
