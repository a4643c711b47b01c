"""`vl demo`: train and evaluate the whole system on the drawn world."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from vl.commands.options import DeviceOptions
from vl.data.bounds import NonNegativeInt, OutputFolder
from vl.data.outputs import is_lock

if TYPE_CHECKING:
    from vl.demo.report import ResultTable  # needs PyTorch


@dataclass(frozen=True)
class DemoRun(DeviceOptions):
    """Draw a world, train the whole system on it from scratch, and evaluate it.

    Trains word vectors, an encoder, labellers and a captioner, and reports how true the captions
    and labels of other images are.
    """

    output_dir: OutputFolder = Path("demo")
    """New folder for the world, the models, captions in COCO's format and report.html."""
    training_images: Annotated[int, Ge(40)] = 8000
    """Images to train on."""
    evaluation_images: Annotated[int, Ge(12)] = 400
    """Images of each other split."""
    seed: NonNegativeInt = 0
    """Random seed."""


def run(flags: DemoRun) -> int:
    """Run all stages and print the results."""
    folder = flags.output_dir
    if folder.exists() and not all(map(is_lock, folder.iterdir())):
        raise ValueError(f"{folder} is not empty; choose another folder with --output-dir")
    from vl.data.world.kinds import UNSEEN
    from vl.data.world.scenes import EVALUATION_SPLITS
    from vl.demo.results import evaluate_demo
    from vl.demo.stages import Demo, DemoConfig
    from vl.terminal import print_line

    config = DemoConfig(
        training_images=flags.training_images, evaluation_images=flags.evaluation_images
    )
    demo = Demo(folder, config=config, seed=flags.seed, device=flags.device)
    stages = demo.run()
    report = evaluate_demo(demo, stages, folder / "report.html")
    for table in report.tables:
        _print(table)
    first = {example.scene.split: example for example in reversed(report.examples)}
    for split in EVALUATION_SPLITS:
        example = first[split]
        labels = ", ".join(
            f"{', '.join(kind.words)} {cosine:.2f}" for kind, cosine in example.labels[:3]
        )
        print_line(f"{example.path}\n  {example.caption}\n  {labels}")
    image = first["held-out-kinds"].path
    print_line(f"{report.seconds:.0f} seconds; the report is {folder / 'report.html'}. Next:")
    print_line(f"  vl caption {image} --model {demo.captioner} --n-best 3")
    labels = ", ".join(UNSEEN)
    print_line(f'  vl label {image} --model {demo.labeller("devise")} --labels "{labels}"')
    return 0


def _print(results: "ResultTable") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=results.title, caption=results.note, title_justify="left")
    for index, column in enumerate(results.columns):
        table.add_column(column, justify="right" if index else "left")
    for row in results.rows:
        table.add_row(*row)
    Console().print(table)
