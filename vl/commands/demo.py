"""`vl demo`: train and evaluate the whole system on the drawn world."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from vl.commands.options import DeviceOptions
from vl.data.bounds import NonNegativeInt, OutputFolder
from vl.data.errors import changed_settings
from vl.data.files import keeping, read_json, write_text
from vl.data.outputs import is_lock, remove_partial_files

if TYPE_CHECKING:
    from vl.demo.report import ResultTable  # needs PyTorch

_SETTINGS, _REPORT = "demo.json", "report.html"


@dataclass(frozen=True)
class DemoRun(DeviceOptions):
    """Draw a world, train the whole system on it from scratch, and evaluate it.

    Trains word vectors, an encoder, labellers and a captioner, and reports how true the captions
    and labels of other images are. An interrupted run is resumed by the same command.
    """

    output_dir: OutputFolder = Path("demo")
    """New folder for the world, the models, captions in COCO's format and report.html; or that of
    an interrupted run."""
    training_images: Annotated[int, Ge(40)] = 8000
    """Images to train on."""
    evaluation_images: Annotated[int, Ge(12)] = 400
    """Images of each other split."""
    seed: NonNegativeInt = 0
    """Random seed."""


def run(flags: DemoRun) -> int:
    """Run all stages and print the results."""
    folder = flags.output_dir
    settings = {name: value for name, value in asdict(flags).items() if name != "output_dir"}
    _check_folder(folder, settings)
    from vl.data.world.kinds import UNSEEN
    from vl.data.world.scenes import EVALUATION_SPLITS
    from vl.demo.results import evaluate_demo
    from vl.demo.stages import Demo, DemoConfig
    from vl.terminal import print_line

    config = DemoConfig(
        training_images=flags.training_images, evaluation_images=flags.evaluation_images
    )
    demo = Demo(folder, config=config, seed=flags.seed, device=flags.device)
    with keeping(lambda: "what is done is kept, and the same command goes on from there"):
        # Written first: whatever else is in the folder is known to be of these settings.
        write_text(folder / _SETTINGS, json.dumps(settings) + "\n")
        stages = demo.run()
        report = evaluate_demo(demo, stages, folder / _REPORT)
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
    print_line(f"{report.seconds:.0f} seconds; the report is {folder / _REPORT}. Next:")
    print_line(f"  vl caption {image} --model {demo.captioner} --n-best 3")
    labels = ", ".join(UNSEEN)
    print_line(f'  vl label {image} --model {demo.labeller("devise")} --labels "{labels}"')
    return 0


def _check_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder with anything but an unfinished demonstration of these settings."""
    file = folder / _SETTINGS
    if folder.exists():
        remove_partial_files(file)
    cure = "choose another folder with --output-dir"
    if file.exists() and not (folder / _REPORT).exists():
        if changes := changed_settings(read_json(file), settings):
            raise ValueError(f"{folder}: begun with other settings ({changes}); {cure}")
    elif folder.exists() and not all(map(is_lock, folder.iterdir())):
        raise ValueError(f"{folder} is not empty; {cure}")


def _print(results: "ResultTable") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=results.title, caption=results.note, title_justify="left")
    for index, column in enumerate(results.columns):
        table.add_column(column, justify="right" if index else "left")
    for row in results.rows:
        table.add_row(*row)
    Console().print(table)
