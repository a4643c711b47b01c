"""Load a model to attack: what its file holds decides which."""

import logging
from pathlib import Path

import torch

from vl import bundle
from vl.attacks.targets import TargetCaptioner, TargetClassifier, TargetLabeller, TargetModel
from vl.captioning import captioner
from vl.captioning.captioner import Captioner
from vl.data.choices import Resize
from vl.data.files import first_few
from vl.data.words.label_lists import read_labels
from vl.encoding import encoder_file
from vl.labelling import labeller_file
from vl.labelling.labeller import Labeller

_log = logging.getLogger(__name__)
_MAX_NAMES = 10  # labels without a vector in the warning


def load_target_model(
    path: Path,
    *,
    labels: str | None = None,
    resize: Resize | None = None,
    device: torch.device | str = "cpu",
) -> TargetModel:
    """Load a labeller, a captioner or a trained encoder.

    Args:
        path: the model file.
        labels: a labeller's candidates, separated by commas or in a file, one a line.
        resize: of a trained encoder; center-crop by default.
        device: where the model runs.

    Raises:
        ValueError: ``labels`` without a labeller or missing for one; ``resize`` without an encoder.
        FormatError: the file holds none of these models.
    """
    kinds = (labeller_file.KIND, captioner.KIND, encoder_file.KIND)
    kind = bundle.read(path, kind=kinds).configuration["kind"]
    if labels is not None and kind != labeller_file.KIND:
        raise ValueError(f"labels require a labeller; {path} holds the model kind {kind!r}")
    if resize is not None and kind != encoder_file.KIND:
        raise ValueError(f"resize requires an encoder; {path} holds the model kind {kind!r}")
    if kind == encoder_file.KIND:
        trained = encoder_file.load(path)
        return TargetClassifier(trained, resize=resize or "center-crop", device=device)
    if kind == captioner.KIND:
        return TargetCaptioner(Captioner.load(path, device=device))
    if labels is None:
        raise ValueError(f"{path} is a labeller and requires candidate labels (--labels)")
    return _load_labeller(path, labels, device)


def _load_labeller(path: Path, labels: str, device: torch.device | str) -> TargetLabeller:
    labeller = Labeller.load(path, device=device)
    wordnet = labeller.space.wordnet
    label_list = read_labels(labels, lemmas=None if wordnet is None else wordnet.lemmas())
    for note in label_list.notes:
        _log.info("labels: %s", note)
    candidates = labeller.candidates(label_list.labels)
    missing = [candidates.labels[index].text for index in candidates.without_vector]
    if missing:
        names = first_few(missing, limit=_MAX_NAMES)
        _log.warning("labels without a word vector are never predicted: %s", names)
    return TargetLabeller(labeller, candidates)
