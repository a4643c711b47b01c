"""Models of timm with random weights, and their files."""

import timm
import torch
from safetensors.torch import save_file

from tests.helpers.nonzero_weights import randomize

TINY = "test_resnet"  # one of timm's own models for tests: images of 160 pixels, width 96


def timm_model(name=TINY, seed=0):
    """A model with weights that tell images apart."""
    torch.manual_seed(seed)
    return randomize(timm.create_model(name)).eval()


def save(model, path):
    """Write its state as timm's hub has it."""
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return path
