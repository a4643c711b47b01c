"""What people use: photographs to sentences, labels and scores."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Answer", "Caption", "Captioner", "Label", "Labeller", "Search", "__version__"]

_IN = {  # where each public name is
    "Answer": "labeller",
    "Caption": "captioner",
    "Captioner": "captioner",
    "Label": "labeller",
    "Labeller": "labeller",
    "Search": "caption_search",
}

if TYPE_CHECKING:
    from vl.caption_search import Search
    from vl.captioner import Caption, Captioner
    from vl.labeller import Answer, Label, Labeller


def __getattr__(name: str) -> Any:
    """The public names, imported when first used: PyTorch takes seconds that help can spare."""
    if name in _IN:
        return getattr(importlib.import_module(f"vl.{_IN[name]}"), name)
    raise AttributeError(f"module 'vl' has no attribute {name!r}")
