"""Gradient attacks and adversarial training: FGSM, the basic iterative method, the loss.

It knows pixels and a loss; the models that are attacked are in vl/attacks.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# (B, 3, H, W) pixels in [0, 1] to the loss of each image, (B,); the model normalizes. If no image's
# loss depends on another image, as in evaluation mode, the batch size changes no result.
ImageLoss = Callable[[Tensor], Tensor]


def fast_gradient_sign(
    pixels: Tensor, loss: ImageLoss, *, epsilon: float, targeted: bool = False
) -> Tensor:
    """FGSM: one step along the sign of the gradient of the loss.

    Args:
        pixels: ``(B, 3, H, W)`` in [0, 1]; not modified.
        loss: to increase; of each image.
        epsilon: maximum change of a pixel value, from 0 to 1; 0.007 in the paper's figure 1.
        targeted: decrease the loss instead, that of the target output.

    Returns:
        New pixels in [0, 1], each value within ``epsilon`` of the original; detached, and no
        ``grad`` of a weight changes. With ``epsilon`` 0 they are bit-identical.

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
    loss: ImageLoss,
    *,
    epsilon: float,
    steps: int,
    step_size: float | None = None,
    targeted: bool = False,
) -> Tensor:
    """BIM: several smaller steps, each projected back into the ``epsilon`` ball.

    Args:
        pixels: ``(B, 3, H, W)`` in [0, 1]; not modified.
        loss: to increase; of each image.
        epsilon: maximum change of a pixel value, from 0 to 1.
        steps: one of size ``epsilon`` is FGSM.
        step_size: by default ``default_step_size``.
        targeted: decrease the loss instead.

    Returns:
        As ``fast_gradient_sign``.

    Raises:
        ValueError: invalid pixels; or the loss is not one value per image, or has no finite
            gradient with respect to the pixels.

    Source:
        Kurakin et al. 2017 ("Adversarial Examples in the Physical World"), section 2.2; one step
        is Goodfellow et al. 2015. Here the target is that of the loss; Kurakin's targeted form
        takes the least likely class.
    """
    _check_shape(pixels)
    if pixels.numel() and not bool(((pixels >= 0) & (pixels <= 1)).all()):  # nor NaN
        raise ValueError(
            f"pixels lie from {float(pixels.min()):g} to {float(pixels.max()):g}; expected [0, 1]"
        )
    size = default_step_size(epsilon, steps) if step_size is None else step_size
    # Callers may have disabled gradients.
    with torch.inference_mode(False), torch.enable_grad():
        origin = pixels.detach().clone()
        if epsilon == 0:  # else -0.0 would become 0.0
            return origin
        changed = origin
        for _ in range(steps):
            variable = changed.detach().requires_grad_()
            gradient = _gradient(variable, _losses(loss, variable))
            finite = gradient.isfinite().flatten(1).all(1)  # (B,)
            if not bool(finite.all()):
                first = int((~finite).nonzero()[0, 0])
                raise ValueError(f"the loss of image {first} has a gradient that is not finite")
            changed = _step(changed, gradient, -size if targeted else size, origin, epsilon)
        return changed


def adversarial_loss(
    pixels: Tensor, loss: ImageLoss, *, epsilon: float, alpha: float = 0.5
) -> Tensor:
    """The loss of adversarial training, ``alpha J(x) + (1 - alpha) J(x')``, of each image.

    ``x'`` is x attacked by FGSM with the current weights, and a constant to the gradient. The loss
    is called twice, so that batch normalization sees the clean and the adversarial images.

    Args:
        pixels: ``(B, 3, H, W)`` in [0, 1]; not modified, and without a gradient. Their
            range is not checked, as that would synchronize a GPU.
        loss: of each image; usually a ``classifier_loss`` with the true labels.
        epsilon: maximum change of a pixel value.
        alpha: weight of the clean images; 0.5 in the paper.

    Returns:
        ``(B,)``; not finite where the loss or its gradient is not.

    Raises:
        ValueError: invalid shape; or the loss is not one value per image, or has no gradient with
            respect to the pixels.

    Source:
        Goodfellow et al. 2015, section 6.
    """
    _check_shape(pixels)
    origin = pixels.detach().clone()
    with torch.enable_grad():
        variable = origin.clone().requires_grad_()
        clean = _losses(loss, variable)
        gradient = _gradient(variable, clean, retain_graph=True)
    changed = origin
    if epsilon > 0:
        changed = _step(origin, gradient, epsilon, origin, epsilon)
    return alpha * clean + (1 - alpha) * _losses(loss, changed)


def classifier_loss(logits: Callable[[Tensor], Tensor], labels: Tensor) -> ImageLoss:
    """The cross-entropy of a classifier for each image.

    Args:
        logits: pixels to ``(B, classes)``: ``lambda pixels: encoder.classify(pixels).main``. Where
            dropout or batch normalization is in training mode, the loss varies with it.
        labels: class of each image, ``(B,)``, int64: true, target or ``predicted_labels``.
    """
    return lambda pixels: F.cross_entropy(logits(pixels), labels, reduction="none")


@torch.no_grad()
def predicted_labels(logits: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """The most likely class of each image, ``(B,)``, int64: an attack on it needs no true label."""
    return logits(pixels).argmax(1)


def default_step_size(epsilon: float, steps: int) -> float:
    """The default step size: large enough to reach any point of the ``epsilon`` ball.

    Source:
        Madry et al. 2018, section 5: 2.5 epsilon / steps; here at most epsilon, so that one step
        is FGSM.
    """
    return min(epsilon, 2.5 * epsilon / steps)


def _losses(loss: ImageLoss, pixels: Tensor) -> Tensor:
    losses = loss(pixels)
    if losses.shape != pixels.shape[:1]:
        raise ValueError(
            f"the loss has shape {tuple(losses.shape)} for {len(pixels)} images; "
            "expected one value per image"
        )
    return losses


def _gradient(pixels: Tensor, losses: Tensor, *, retain_graph: bool = False) -> Tensor:
    """The gradient of each image's loss with respect to its pixels, of their shape."""
    if not losses.requires_grad:
        raise ValueError("the loss has no gradient: it was computed without one")
    (gradient,) = torch.autograd.grad(
        losses.sum(), pixels, retain_graph=retain_graph, allow_unused=True
    )
    if gradient is None:
        raise ValueError("the loss does not depend on the pixels, or its gradient was cut off")
    return gradient.detach()


def _step(pixels: Tensor, gradient: Tensor, size: float, origin: Tensor, epsilon: float) -> Tensor:
    """A step, projected to the nearest pixels within epsilon of the original and in [0, 1]."""
    changed = pixels.detach() + size * gradient.sign()
    return changed.clamp(origin - epsilon, origin + epsilon).clamp(0, 1)


def _check_shape(pixels: Tensor) -> None:
    if pixels.ndim != 4 or pixels.shape[1] != 3 or not pixels.is_floating_point():
        raise ValueError(
            f"pixels are {pixels.dtype} of shape {tuple(pixels.shape)}; "
            "expected float of shape (B, 3, H, W)"
        )
