"""`vl evaluate-labels`: a labeller's hits on photographs whose labels are known."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from vl import devices
from vl.commands.options import DeviceOptions
from vl.data.embeddings import load_embeddings
from vl.data.files import write_text
from vl.data.words.label_lists import read_labels
from vl.data.words.labels import Label
from vl.data.words.wordnet import WordNet
from vl.encoding.pretrained import check_fingerprint
from vl.labelling.evaluation import Evaluated, Result, evaluate
from vl.labelling.examples import read_examples
from vl.labelling.labeller import Labeller
from vl.labelling.setup import encoded
from vl.version import __version__

_log = logging.getLogger(__name__)
_NAMED = 10  # labels without a vector that are named; all are in --per-class


@dataclass(frozen=True)
class LabelEvaluation(DeviceOptions):
    """Evaluate a labeller: hit@k and hierarchical precision on seen labels, unseen ones, and both."""

    photographs: tyro.conf.Positional[list[Path]]
    """Folders with a folder for each class, and lists of a photograph, a tab and its class."""
    model: Path
    """A labeller's file."""
    embeddings: Path | None = None
    """What `vl embed` made of the photographs, with the labeller's encoder."""
    labels: str | None = None
    """All candidates: a file of labels, or labels that commas part; by default the photographs'
    labels and those that were trained on."""
    csls: bool = False
    """Take hubs back: labels that are near to all photographs (CSLS)."""
    none_of_these: float | None = None
    """Rate of false accepts: what becomes of photographs where none of these is an answer."""
    wordnet: Path | None = None
    """WordNet's words.txt and is_a.txt are here: for ids without words; else the labeller's own."""
    per_class: Path | None = None
    """Write the figures of each label with photographs or without a vector, between tabs."""
    json: bool = False
    """All figures as one JSON line."""


def run(flags: LabelEvaluation) -> int:
    """Evaluate; 1 if a photograph could not be read."""
    if not flags.photographs:
        raise ValueError("no photographs are given")
    if flags.none_of_these is not None and not 0 < flags.none_of_these < 1:
        raise ValueError(
            f"--none-of-these is {flags.none_of_these}; it is a share between 0 and 1, as 0.05"
        )
    labeller = Labeller.load(flags.model, device=devices.resolve_device(flags.device))
    if labeller.calibration is None and (flags.csls or flags.none_of_these is not None):
        raise ValueError(
            f"{flags.model} was trained with --development 0: --csls and --none-of-these want a "
            "calibrated labeller"
        )
    wordnet = labeller.space.wordnet
    if flags.wordnet:
        wordnet = WordNet.load(flags.wordnet)
    names = None if wordnet is None else wordnet.lemmas()
    candidates: list[Label] | None = None
    if flags.labels is not None:
        listed = read_labels(flags.labels, lemmas=names)
        for note in listed.notes:
            _log.info("candidates: %s", note)
        candidates = list(listed.labels)
    failed = 0
    if flags.embeddings:
        held = load_embeddings(flags.embeddings)
        check_fingerprint(
            labeller.embedder.encoder, held.provenance.fingerprint, made=flags.embeddings
        )
        if (held.provenance.resize, set(held.provenance.views)) != (
            labeller.embedder.resize,
            set(labeller.embedder.views),
        ):
            raise ValueError(
                f"{flags.embeddings} was made with resize {held.provenance.resize} and views "
                f"{', '.join(held.provenance.views)}, the labeller wants "
                f"{labeller.embedder.resize} and "
                f"{', '.join(labeller.embedder.views)}"
            )
        examples = read_examples(flags.photographs, names=names, embedded=frozenset(held.names))
        vectors = held.select(examples.names)
    else:
        examples = read_examples(flags.photographs, names=names)
        count = len(examples.paths)
        examples, vectors = encoded(examples, labeller.embedder)
        failed = count - len(examples.paths)
    for note in examples.notes:
        _log.info("%s", note)
    evaluated = evaluate(
        labeller,
        vectors.mean(1),
        examples,
        candidates,
        csls=flags.csls,
        none_of_these=flags.none_of_these,
        wordnet=wordnet,
    )
    if evaluated.aside:
        _log.info(
            "%d photographs count nowhere: the training was judged by their labels", evaluated.aside
        )
    for result in evaluated.results:
        if result.missing:
            shown = ", ".join(map(repr, result.missing[:_NAMED]))
            dots = ", ..." if len(result.missing) > _NAMED else ""
            _log.info(
                "%s: %d of %d candidates have no vector: %s%s; %d photographs show one of them",
                result.name,
                len(result.missing),
                len(result.labels),
                shown,
                dots,
                result.lost,
            )
    if flags.per_class:
        write_text(flags.per_class, _per_class(evaluated.results))
    signature = " + ".join(sorted(labeller.projections))
    signature += f" | {len(labeller.seen)} labels seen | csls {'on' if flags.csls else 'off'}"
    signature += f" | vl {__version__}"
    if flags.json:
        print(json.dumps(_record(evaluated, signature), ensure_ascii=False))
    else:
        _print(evaluated)
        print(signature)
    return 1 if failed else 0


def _print(evaluated: Evaluated) -> None:
    ks = evaluated.results[0].hits.ks
    head = "".join(f"{f'hit@{k}':>8}" for k in ks)
    print(f"{'%':26}{'images':>8}{'labels':>8}{head}{'class hit@1':>13}")
    for result in evaluated.results:
        hits = "".join(f"{100 * value:8.1f}" for value in result.hits.image_mean.tolist())
        by_class = 100 * float(result.hits.label_mean[0])
        print(f"{result.name:26}{result.images:8}{len(result.labels):8}{hits}{by_class:13.1f}")
        chance = "".join(f"{100 * min(1, k / len(result.labels)):8.1f}" for k in ks)
        print(f"{'  chance':26}{'':16}{chance}")
        if result.precision is not None:
            values = result.precision.image_mean.tolist()
            print(f"{'  hierarchical':26}{'':16}{''.join(f'{100 * each:8.1f}' for each in values)}")
        if result.calibration_error is not None:
            print(f"  error of the first label's probability {100 * result.calibration_error:.1f}")
    for how, found in evaluated.generalised.items():
        print(
            f"generalised, {how}: hit@1 by class, seen {100 * found.seen:.1f}  "
            f"unseen {100 * found.unseen:.1f}  harmonic mean {100 * found.harmonic_mean:.1f}"
        )
    if (rejection := evaluated.rejection) is not None:
        print(
            f"none of these, at {100 * rejection.rate:g} %: photographs of none of the candidates "
            f"that get a label {100 * rejection.false_accepts:.1f}, of one of them "
            f"{100 * rejection.accepts:.1f}"
        )


def _per_class(results: Sequence[Result]) -> str:
    ks = results[0].hits.ks
    lines = ["\t".join(["group", "label", "id", "images", *(f"hit@{k}" for k in ks), "note"])]
    for result in results:
        missing = set(result.missing)
        counts = torch.bincount(torch.from_numpy(result.truth), minlength=len(result.labels))
        shares = dict(zip(result.hits.labels.tolist(), result.hits.per_label.tolist(), strict=True))
        for number, label in enumerate(result.labels):
            note = "no vector" if label.text in missing else ""
            if number not in shares and not note:
                continue
            found = [f"{100 * share:.1f}" for share in shares.get(number, [])] or [""] * len(ks)
            cells = [result.name, label.text, label.synset or "", str(int(counts[number])), *found]
            lines.append("\t".join([*cells, note]))
    return "\n".join(lines) + "\n"


def _record(evaluated: Evaluated, signature: str) -> dict[str, Any]:
    return {
        "signature": signature,
        "results": [
            {
                "name": result.name,
                "images": result.images,
                "candidates": len(result.labels),
                "without_vector": len(result.missing),
                "images_of_labels_without_vector": result.lost,
                "k": list(result.hits.ks),
                "hit": result.hits.image_mean.tolist(),
                "hit_over_classes": result.hits.label_mean.tolist(),
                "hierarchical_precision": None
                if result.precision is None
                else result.precision.image_mean.tolist(),
                "calibration_error": result.calibration_error,
            }
            for result in evaluated.results
        ],
        "generalised": {how: found._asdict() for how, found in evaluated.generalised.items()},
        "none_of_these": None if evaluated.rejection is None else evaluated.rejection._asdict(),
    }
