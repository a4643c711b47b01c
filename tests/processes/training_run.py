"""A small training that test_loop.py starts as a process, to kill it or to run several.

python -m tests.processes.training_run FOLDER [--die-at STEP] [--resume] [--dropout 0.5]
"""

import argparse
import os
import signal
from pathlib import Path

import torch
from safetensors.torch import save_file

from vl.captioning.task import CaptionerTask
from vl.data.batches import CaptionBatches, random_view
from vl.decoders.scheduled_sampling import sampling_schedule
from vl.decoders.show_and_tell import ShowAndTell
from vl.training.loop import CheckpointConfig, StepConfig, ValidationConfig, train
from vl.training.optimizers import schedule
from vl.training.parallel import process_group
from vl.training.selection import Validation

IMAGES, EPOCHS = 24, 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--die-at", type=int)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--dropout", type=float, default=0.5)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(IMAGES, 2, 8, generator=generator)
    captions = [
        [[0, *torch.randint(2, 20, (3 + image % 4,), generator=generator).tolist(), 1]] * 2
        for image in range(IMAGES)
    ]
    calls = 0

    def source(indices: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == flags.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return random_view(vectors)(indices, seeds)

    with process_group("cpu") as processes:
        torch.manual_seed(0)
        decoder = ShowAndTell(
            image_width=8,
            vocabulary_size=20,
            embedding_size=16,
            hidden_size=16,
            dropout=flags.dropout,
        )
        sampling = sampling_schedule("linear", max_probability=0.5, num_steps=30)
        task = CaptionerTask(decoder, sampling_schedule=sampling if flags.dropout else None)
        batches = CaptionBatches(
            source, captions, batch_size=5, rank=processes.rank, world_size=processes.size
        )
        development = CaptionBatches(random_view(vectors), captions, batch_size=50, seed=None)

        def validate(task: CaptionerTask) -> Validation:
            loss = sum(float(task(batch, 0).total) for batch in development.epoch(0))
            return Validation(-loss, {"loss": loss})

        def save(task: CaptionerTask, result: Validation | None) -> None:
            weights = {name: value.clone() for name, value in task.state_dict().items()}
            save_file(weights, flags.folder / "best.safetensors")

        torch.manual_seed(1 + processes.rank)
        train(
            task,
            batches,
            optimizer=torch.optim.AdamW(task.parameters(), lr=0.01),
            schedule=schedule("cosine", steps=EPOCHS * len(batches), warmup_steps=3),
            epochs=EPOCHS,
            checkpoints=CheckpointConfig(
                flags.folder, {"dropout": flags.dropout}, seconds=0, resume=flags.resume
            ),
            steps=StepConfig(processes, ema_decay=0.9),
            validation=ValidationConfig(validate, save),
        )


if __name__ == "__main__":
    main()
