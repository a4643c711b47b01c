"""A training of one number, for the tests of the loop and of its checkpoints."""

import dataclasses
import json
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vl.training.loop import CheckpointConfig, StepConfig, ValidationConfig, train
from vl.training.optimizers import schedule


class Numbers(NamedTuple):
    """A batch of numbers."""

    x: Tensor

    def to(self, device):
        return self


class Line(nn.Module):
    """Fits 3 x by w x; the loss is a sum and a count."""

    unit = "numbers"

    def __init__(self, loss_at=None):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.loss_at = loss_at

    def forward(self, batch, step):
        total = ((self.w - 3) * batch.x).square().sum()
        if step == self.loss_at:
            total = total * float("nan")
        return total, torch.tensor(len(batch.x))


class Batches:
    """Four batches an epoch."""

    def __len__(self):
        return 4

    def epoch(self, number, *, first=0):
        generator = torch.Generator().manual_seed(number)
        numbers = torch.randn(4, 8, generator=generator)
        return (Numbers(numbers[index]) for index in range(first, 4))


class UnevenBatches:
    """Seven batches of different sizes an epoch, some of them concatenated."""

    sizes = (3, 5, 2, 8, 1, 4, 6)

    def __init__(self, concatenated=1):
        self.concatenated = concatenated

    def __len__(self):
        return -(-len(self.sizes) // self.concatenated)

    def epoch(self, number, *, first=0):
        generator = torch.Generator().manual_seed(number)
        each = torch.randn(sum(self.sizes), generator=generator).split(self.sizes)
        for index in range(first, len(self)):
            yield Numbers(
                torch.cat(each[index * self.concatenated : (index + 1) * self.concatenated])
            )


def run(folder, model=None, batches=None, *, epochs=3, optimizer=None, **options):
    """A training; ``options`` are fields of the three configurations."""
    model = model or Line()
    checkpoints = {"settings": {"learning_rate": 0.1}, **pick(options, CheckpointConfig)}
    result = train(
        model,
        batches or Batches(),
        optimizer=optimizer or torch.optim.SGD(model.parameters(), lr=0.1),
        schedule=schedule("constant", steps=1),
        epochs=epochs,
        checkpoints=CheckpointConfig(folder, **checkpoints),
        steps=StepConfig(**pick(options, StepConfig)),
        validation=ValidationConfig(**pick(options, ValidationConfig)),
    )
    return model, result


def pick(options, config):
    """The options that are fields of a configuration."""
    names = {field.name for field in dataclasses.fields(config)}
    return {name: value for name, value in options.items() if name in names}


def log_of(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
