"""Images to captions and labels, and the scores of both: the public names of vl."""

import importlib
from typing import TYPE_CHECKING, Any

from vl.version import __version__

__all__ = [
    "Answer",
    "Caption",
    "Captioner",
    "Labeller",
    "Prediction",
    "SearchSettings",
    "__version__",
]

_MODULES = {  # where each public name is defined
    "Answer": "labelling.labeller",
    "Caption": "captioning.captioner",
    "Captioner": "captioning.captioner",
    "Labeller": "labelling.labeller",
    "Prediction": "labelling.labeller",
    "SearchSettings": "captioning.search",
}

if TYPE_CHECKING:
    from vl.captioning.captioner import Caption, Captioner
    from vl.captioning.search import SearchSettings
    from vl.labelling.labeller import Answer, Labeller, Prediction


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: PyTorch takes seconds to import."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"vl.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'vl' has no attribute {name!r}")
