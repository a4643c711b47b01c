"""Captions and labels for images, and metrics for both: the public names of vl."""

import importlib
from typing import TYPE_CHECKING, Any

from vl.version import __version__

__all__ = [
    "Answer",
    "Caption",
    "CaptionEvaluation",
    "Captioner",
    "Embedder",
    "Index",
    "Labeller",
    "Prediction",
    "SearchSettings",
    "__version__",
    "evaluate_captions",
]

_MODULES = {  # where each public name is defined
    "Answer": "labelling.candidates",
    "Caption": "captioning.captioner",
    "CaptionEvaluation": "evaluation.output",
    "Captioner": "captioning.captioner",
    "Embedder": "encoding.embedder",
    "Index": "search.index",
    "Labeller": "labelling.labeller",
    "Prediction": "labelling.candidates",
    "SearchSettings": "captioning.search",
    "evaluate_captions": "evaluation.evaluate",
}

if TYPE_CHECKING:
    from vl.captioning.captioner import Caption, Captioner
    from vl.captioning.search import SearchSettings
    from vl.encoding.embedder import Embedder
    from vl.evaluation.evaluate import evaluate_captions
    from vl.evaluation.output import CaptionEvaluation
    from vl.labelling.candidates import Answer, Prediction
    from vl.labelling.labeller import Labeller
    from vl.search.index import Index


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, as PyTorch takes seconds to import."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"vl.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'vl' has no attribute {name!r}")
