"""`vl attack`: photographs changed a little, and what a model says of them before and after."""

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor

from vl import attack_sheet, bundle, devices
from vl.attacks.robustness import attacks_of
from vl.attacks.targets import (
    Attacked,
    AttackedCaptioner,
    AttackedClassifier,
    AttackedLabeller,
    Goal,
    Said,
)
from vl.captioning import captioner
from vl.captioning.captioner import Captioner
from vl.commands import attack_labelled
from vl.data.choices import Resize
from vl.data.errors import FormatError
from vl.data.files import atomic_write, escape_unprintable
from vl.data.images.decode import decode
from vl.data.words import labels as label_lists
from vl.encoding import encoder_file as encoder_bundle
from vl.inputs import error_message, listed, photographs
from vl.labelling import labeller_file as labeller_bundle
from vl.labelling.labeller import Labeller
from vl.terminal import Bar, print_line
from vl.training.adversarial import basic_iterative, check_numbers, default_step_size

_log = logging.getLogger(__name__)

_NAMED = 10  # labels without a vector that are named
_STAGES = ("before", "after", "png")
_STEPS = 10  # of the iterated form, for --labelled


@dataclass(frozen=True)
class AttackRun:
    """Change photographs a little so that a model says something else: three lines a photograph.

    A line has path, stage, what the model says, how sure it is of that, how sure it is of what is
    attacked, and whether the attack is done, with tabs between. The stages are before, after, and
    png: the picture as it is read again from the file, its numbers rounded to 8 bits.
    What is attacked is the model's own answer before, or else --towards. How sure a labeller is of
    a label is its probability, or the cosine if it was never calibrated; an encoder of a class, its
    probability; a captioner of a sentence, its log-probability.

    With --labelled, a table instead: how often a trained encoder errs on photographs of known
    classes, unchanged and under each attack, and how sure it is of its errors.
    """

    paths: tyro.conf.Positional[list[Path]]
    """Photographs, folders of them, or - for a list of paths on stdin. With --labelled, folders
    with a folder for each class, and lists of a photograph, a tab and its class."""
    model: Path
    """The file of a labeller, a captioner or a trained encoder."""
    out: Path | None = None
    """Folder for the changed pictures, wanted unless --labelled: of each photograph the square that
    the model sees, .png."""
    labelled: bool = False
    """Count an encoder's errors; the attacks raise the loss of the true classes (Goodfellow et al.
    2015), by one step and by --steps. Nothing is written."""
    towards: str | None = None
    """The label, class or sentence that the model shall say; otherwise anything but what it
    says."""
    labels: str | None = None
    """Of a labeller: labels with commas between, or a file with one a line."""
    resize: Resize | None = None
    """Of an encoder: how a photograph becomes a square, as in `vl evaluate-encoder`; by default
    center-crop."""
    eps: Annotated[tuple[float, ...], tyro.conf.arg(metavar="EPS ...")] = (0.007,)
    """How far each number of a pixel may move, of a range of 1 (Goodfellow et al. 2015); several
    with --labelled."""
    steps: int | None = None
    """Steps along the sign of the gradient: by default 1, the fast gradient sign; with --labelled,
    10 beside that."""
    step_size: float | None = None
    """Of each step, of a range of 1; otherwise 2.5 eps over the steps, at most eps."""
    picture: Path | None = None
    """Write a .png of originals, differences made strong, and results, the first 20."""
    json: bool = False
    """One JSON line a photograph, with the figures of all three stages; with --labelled, one."""
    batch_size: int = 8
    """Photographs at once."""
    device: str = "cpu"
    """cpu or cuda."""


class _Stage(NamedTuple):
    """A photograph at one of ``_STAGES``, and what the model says of it."""

    pixels: Tensor  # (3, S, S)
    said: Said
    own: dict[str, float | None]  # how sure the model is of what it says
    goal: dict[str, float | None]  # and of what is attacked


def run(flags: AttackRun) -> int:
    """Attack; 1 if a photograph could not be read."""
    _check(flags)
    if flags.labelled:
        return _count(flags)
    inputs = photographs(listed(flags.paths))
    assert flags.out is not None
    files = _files(inputs.files, flags.out)
    model = _model(flags)
    wanted = None if flags.towards is None else model.wanted(flags.towards)
    flags.out.mkdir(parents=True, exist_ok=True)
    rows: list[attack_sheet.Row] = []
    failures, done = len(inputs.failures), dict.fromkeys(_STAGES, 0)
    with Bar("attack", len(inputs.files), unit="images") as bar:
        for unusable in inputs.failures:
            bar.say(error_message(unusable))
        for begin in range(0, len(inputs.files), flags.batch_size):
            read: list[tuple[Path, Tensor]] = []
            batch = inputs.files[begin : begin + flags.batch_size]
            for path in batch:
                try:
                    read.append((path, model.square(decode(path))))
                except (FormatError, OSError) as error:
                    bar.say(error_message(error))
                    failures += 1
            for (path, _), stages in zip(read, _attacked(flags, model, wanted, read, files)):
                for stage, each in zip(_STAGES, stages, strict=True):
                    done[stage] += _is_done(each, stages[0], wanted)
                if flags.json:
                    print(json.dumps(_record(flags, path, files[path], stages, wanted)))
                else:
                    for line in _lines(path, stages, wanted):
                        print_line(line)
                if flags.picture and len(rows) < attack_sheet.MOST:
                    rows.append(_row(path, stages, wanted))
            sys.stdout.flush()  # who reads the pipe need not wait for the next batches
            bar.advance(len(batch))
    total = len(inputs.files) + len(inputs.failures)
    if failures:
        _log.info("%d of %d inputs failed", failures, total)
    _log.info(
        "done with %d of %d photographs, and read again from the file with %d",
        done["after"],
        total - failures,
        done["png"],
    )
    if wanted and done["before"]:
        _log.info("of %d the model said %r before", done["before"], wanted.text)
    drawn = not flags.picture or _draw(flags.picture, rows, attacked=total - failures)
    return 0 if drawn and not failures else 1


def _check(flags: AttackRun) -> None:
    """Refuse what makes no sense, before any work."""
    for epsilon in flags.eps:
        check_numbers(epsilon=epsilon, steps=_steps(flags), step_size=flags.step_size)
    if flags.batch_size < 1:
        raise ValueError(f"batch size is {flags.batch_size}; it must be at least 1")
    if flags.labelled:
        others = ("out", "towards", "labels", "picture")
        given = [f"--{name}" for name in others if getattr(flags, name) is not None]
        if given:
            raise ValueError(f"{', '.join(given)} cannot go with --labelled, which only counts")
        if flags.step_size is not None and flags.steps == 1:
            raise ValueError("--step-size is of the iterated form, and --steps 1 leaves that out")
        return
    if len(flags.eps) != 1:
        raise ValueError(
            f"--eps has {len(flags.eps)} numbers; only --labelled takes other than one"
        )
    if flags.out is None:
        raise ValueError("--out is missing: the folder for the changed pictures")
    if flags.out.exists() and not flags.out.is_dir():
        raise NotADirectoryError(f"{flags.out}: a file, not a folder")
    if flags.picture and flags.picture.suffix.lower() != ".png":
        raise ValueError(f"--picture writes a .png file, not {flags.picture.name!r}")
    if flags.picture and flags.picture.is_dir():
        raise IsADirectoryError(f"{flags.picture}: a folder, not a file")


def _steps(flags: AttackRun) -> int:
    return flags.steps if flags.steps is not None else _STEPS if flags.labelled else 1


def _count(flags: AttackRun) -> int:
    return attack_labelled.count(
        flags.paths,
        flags.model,
        attacks_of(flags.eps, steps=_steps(flags), step_size=flags.step_size),
        resize=flags.resize or "center-crop",
        batch_size=flags.batch_size,
        device=devices.named(flags.device),
        as_json=flags.json,
    )


def _files(files: list[Path], out: Path) -> dict[Path, Path]:
    """Where each photograph's changed picture is written: never over another or a photograph.

    It has the photograph's name, or where two have the same, all have their folder's before it.
    """
    for name in (lambda path: path.stem, lambda path: f"{path.resolve().parent.name}-{path.stem}"):
        of: dict[str, Path] = {}
        for path in files:
            # Some file systems do not tell capitals apart.
            other = of.setdefault(name(path).casefold(), path)
            if other != path:
                break
        else:
            break
    else:
        raise ValueError(f"{other} and {path} would both be written to {out / name(path)}.png")
    made = {path: out / f"{name(path)}.png" for path in files}
    own = {path.resolve() for path in files}
    for file in made.values():
        if file.resolve() in own:
            raise ValueError(f"{file} is a photograph to attack; give another --out")
    return made


def _model(flags: AttackRun) -> Attacked:
    """The model, told by what its file says it is."""
    kinds = (labeller_bundle.KIND, captioner.KIND, encoder_bundle.KIND)
    kind = bundle.read(flags.model, kind=kinds).configuration["kind"]
    device = devices.named(flags.device)
    if flags.labels is not None and kind != labeller_bundle.KIND:
        raise ValueError(f"--labels is for labellers, and {flags.model} is of kind {kind!r}")
    if kind == encoder_bundle.KIND:
        trained = encoder_bundle.load(flags.model)
        return AttackedClassifier(trained, resize=flags.resize or "center-crop", device=device)
    if flags.resize is not None:
        raise ValueError(f"--resize is for encoders, and {flags.model} is of kind {kind!r}")
    if kind == captioner.KIND:
        return AttackedCaptioner(Captioner.load(flags.model, device=device))
    if flags.labels is None:
        raise ValueError(f"{flags.model} is a labeller; give --labels: what photographs may be")
    labeller = Labeller.load(flags.model, device=device)
    wordnet = labeller.space.wordnet
    found = label_lists.of(flags.labels, names=None if wordnet is None else wordnet.names())
    for note in found.notes:
        _log.info("labels: %s", note)
    candidates = labeller.candidates(found.labels, found.ids if any(found.ids) else None)
    lost = [repr(candidates.texts[n]) for n in (~candidates.labels.known).nonzero()[:, 0].tolist()]
    if lost:
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        _log.warning("no vector, so never chosen: %s%s", ", ".join(lost[:_NAMED]), more)
    return AttackedLabeller(labeller, candidates)


def _attacked(
    flags: AttackRun,
    model: Attacked,
    wanted: Said | None,
    read: list[tuple[Path, Tensor]],
    files: dict[Path, Path],
) -> list[tuple[_Stage, ...]]:
    """Each photograph at all stages, its changed picture written."""
    if not read:
        return []
    before = torch.stack([square for _, square in read])  # (B, 3, S, S)
    said = model.says(before)
    goals = [(wanted or each).goal for each in said]
    after = basic_iterative(
        before.to(model.device),
        model.loss(goals),
        epsilon=flags.eps[0],
        steps=_steps(flags),
        step_size=flags.step_size,
        targeted=wanted is not None,
    ).cpu()
    for (path, _), pixels in zip(read, after, strict=True):
        _write_png(files[path], pixels)
    again = torch.stack([decode(files[path]) for path, _ in read])
    stages = [_staged(model, before, said, goals)]
    stages += [_staged(model, pixels, model.says(pixels), goals) for pixels in (after, again)]
    return list(zip(*stages, strict=True))


def _staged(model: Attacked, pixels: Tensor, said: list[Said], goals: list[Goal]) -> list[_Stage]:
    own = model.figures(pixels, [each.goal for each in said])
    return [_Stage(*each) for each in zip(pixels, said, own, model.figures(pixels, goals))]


def _write_png(path: Path, pixels: Tensor) -> None:
    """Each number to the nearest of 0 to 255, without loss from there on."""
    eight_bits = (pixels * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()  # (S, S, 3)
    with atomic_write(path) as beside:
        Image.fromarray(np.ascontiguousarray(eight_bits)).save(beside, format="PNG")


def _is_done(stage: _Stage, before: _Stage, wanted: Said | None) -> bool:
    """Whether the model says what it shall, or else not what it said."""
    return stage.said.text == wanted.text if wanted else stage.said.text != before.said.text


def _record(
    flags: AttackRun, path: Path, file: Path, stages: tuple[_Stage, ...], wanted: Said | None
) -> dict[str, Any]:
    epsilon, steps, size = flags.eps[0], _steps(flags), flags.step_size
    told: dict[str, Any] = {
        "path": str(path),
        "written": str(file),
        "eps": epsilon,
        "steps": steps,
        "step_size": default_step_size(epsilon, steps) if size is None else size,
        "towards": wanted.text if wanted else None,
    }
    before = stages[0]
    for name, stage in zip(_STAGES, stages, strict=True):
        told[name] = {
            "says": stage.said.text,
            **stage.own,
            "attacked": stage.goal,
            "done": _is_done(stage, before, wanted),
            "largest_change": float((stage.pixels - before.pixels).abs().max()),
        }
    return told


def _lines(path: Path, stages: tuple[_Stage, ...], wanted: Said | None) -> list[str]:
    return [
        "\t".join(
            [
                str(path),
                name,
                stage.said.text,
                _figure(stage.own),
                _figure(stage.goal),
                "yes" if _is_done(stage, stages[0], wanted) else "no",
            ]
        )
        for name, stage in zip(_STAGES, stages, strict=True)
    ]


def _figure(figures: dict[str, float | None]) -> str:
    """The last one there is: a probability before a cosine."""
    return [f"{value:.4f}" for value in figures.values() if value is not None][-1]


def _row(path: Path, stages: tuple[_Stage, ...], wanted: Said | None) -> attack_sheet.Row:
    """The photograph's place on the sheet; the result is what stands in the file."""
    before, _, again = stages
    outcome = "done" if _is_done(again, before, wanted) else "not done"
    return attack_sheet.Row(
        before.pixels,
        again.pixels,
        (before.said.text, _named(before.own)),
        (
            f"towards {wanted.text!r}: {outcome}" if wanted else f"away from that: {outcome}",
            "/".join(path.parts[-2:]),  # a folder may be a class
        ),
        (again.said.text, _named(again.own)),
    )


def _named(figures: dict[str, float | None]) -> str:
    return ", ".join(
        f"{name.replace('_', '-')} {value:.3f}"
        for name, value in figures.items()
        if value is not None
    )


def _draw(picture: Path, rows: list[attack_sheet.Row], *, attacked: int) -> bool:
    """Write the sheet; whether there was anything to draw."""
    if not rows:
        _log.warning("no photograph could be read, so %s is not written", picture)
        return False
    factor = attack_sheet.write(picture, rows)
    _log.info(
        "%d photographs in %s, differences %d times",
        len(rows),
        escape_unprintable(str(picture)),
        factor,
    )
    if attacked > len(rows):
        _log.info("%d more have no place on it", attacked - len(rows))
    return True
