"""What `vl attack --labelled` does: counts a trained encoder's errors, and prints them."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from vl.attacks.robustness import Attack, Robustness, record, table
from vl.attacks.targets import AttackedClassifier
from vl.data.choices import Resize
from vl.data.errors import FormatError
from vl.data.images.decode import decode
from vl.encoders.weights import fingerprint
from vl.encoding import encoder_file as encoder_bundle
from vl.encoding.classes import places
from vl.inputs import error_message, labelled_photographs
from vl.terminal import Bar, print_line
from vl.version import __version__


def count(
    paths: Sequence[Path],
    model: Path,
    attacks: Sequence[Attack],
    *,
    resize: Resize,
    batch_size: int,
    device: torch.device,
    as_json: bool,
) -> int:
    """Count and print; 1 if a photograph could not be read.

    Args:
        paths: folders with a folder for each class, or lists; see ``vl.data.labelled.folders.labelled``.
        model: a trained encoder's file.
        attacks: see ``vl.attacks.robustness.Robustness``.
        resize: how a photograph becomes a square.
        batch_size: photographs at once.
        device: where the encoder runs.
        as_json: one JSON line and not a table.

    Raises:
        ValueError: a class is none of the encoder's, a photograph is there twice, or none can be
            read; or see the functions that read these.
        OSError: something is not there.
    """
    photographs = labelled_photographs(paths)
    trained = encoder_bundle.load(model)
    attacked = AttackedClassifier(trained, resize=resize, device=device)
    place = places(list(dict.fromkeys(each.label for each in photographs)), trained.classes)
    counted = Robustness(attacked.logits, attacks)
    failures = 0
    with Bar("attack", len(photographs), unit="images") as bar:
        for begin in range(0, len(photographs), batch_size):
            batch = photographs[begin : begin + batch_size]
            squares, truths = [], []
            for each in batch:
                try:
                    squares.append(attacked.square(decode(each.path)))
                    truths.append(place[each.label])
                except (FormatError, OSError) as error:
                    bar.say(error_message(error))
                    failures += 1
            if squares:
                counted.add(
                    torch.stack(squares).to(device), torch.tensor(truths, device=device)
                )  # (B, 3, S, S), (B,)
            bar.advance(len(batch))
    if failures == len(photographs):
        raise ValueError(f"none of the {failures} photographs could be read")
    signature = f"{trained.name} | {len(trained.classes)} classes | resize {resize}"
    signature += f" | true classes attacked | float32 | vl {__version__}"
    if as_json:
        told = {
            "signature": signature,
            "model": {"file": str(model), "fingerprint": fingerprint(attacked.encoder)},
            "failures": failures,
            "results": [record(each) for each in counted.errors()],
        }
        print_line(json.dumps(told, ensure_ascii=False))
    else:
        for line in (*table(counted.errors()), signature):
            print_line(line)
        if failures:
            print_line(f"{failures} photographs could not be read and do not count")
    return 1 if failures else 0
