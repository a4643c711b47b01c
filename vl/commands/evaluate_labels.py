"""`vl evaluate-labels`: a labeller's accuracy on labelled images."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vl.commands.options import DeviceOptions, OutputOptions
from vl.data.bounds import InputFile, InputPath, OpenFraction
from vl.data.outputs import LABEL_TABLE
from vl.data.words.label_lists import find_label_file
from vl.data.words.label_tables import LabelColumns


@dataclass(frozen=True)
class EvaluateLabelsFlags(OutputOptions, DeviceOptions, LabelColumns):
    """Evaluate a labeller: top-k accuracy, hierarchical precision, on seen and unseen labels."""

    images: tyro.conf.Positional[list[InputPath]]
    """Folders with a folder for each class, and lists of an image, a tab and its class."""
    model: InputFile
    """Labeller's file."""
    embeddings: InputFile | None = None
    """Embeddings of the images, by `vl embed` with the labeller's encoder."""
    labels: str | None = None
    """Candidate labels: a file, or labels separated by commas; by default those of the images and
    those that the labeller was trained on."""
    csls: bool = False
    """Correct hubness: penalize labels close to every image (CSLS)."""
    none_of_these: OpenFraction | None = None
    """Evaluate "none of these" as an answer, at this rate of false accepts."""
    wordnet: InputPath | None = None
    """Folder with WordNet's words.txt and is_a.txt, for ids without words; by default the
    labeller's own WordNet."""
    per_class: Annotated[Path, LABEL_TABLE] | None = None
    """Write the hits of each label with images or without a vector, as tab-separated text."""
    json: bool = False
    """Print all results as one JSON line."""


def run(flags: EvaluateLabelsFlags) -> int:
    """Evaluate; 1 if an image could not be read."""
    if not flags.images:
        raise ValueError("no images: give folders of classes or lists")
    if flags.labels is not None:
        find_label_file(flags.labels)  # refused before PyTorch is imported
    from vl import devices
    from vl.data.files import write_text
    from vl.labelling.evaluation import evaluate_labels
    from vl.labelling.labeller import Labeller
    from vl.terminal import print_line

    labeller = Labeller.load(flags.model, device=devices.resolve_device(flags.device))
    evaluation = evaluate_labels(
        flags.images,
        labeller,
        embeddings=flags.embeddings,
        labels=flags.labels,
        columns=flags,
        csls=flags.csls,
        none_of_these=flags.none_of_these,
        wordnet=flags.wordnet,
    )
    if flags.per_class:
        write_text(flags.per_class, evaluation.per_class())
    text = json.dumps(evaluation.to_dict(), ensure_ascii=False) if flags.json else str(evaluation)
    print_line(text)  # classes may be names of folders that are not UTF-8
    return 1 if evaluation.failed else 0
