"""What people use: photographs to sentences, labels and scores."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Caption", "Captioner", "Search", "__version__"]

if TYPE_CHECKING:
    from vl.caption_search import Search
    from vl.captioner import Caption, Captioner


def __getattr__(name: str) -> Any:
    """The public names, imported when first used: PyTorch takes seconds that help can spare."""
    if name in __all__:
        import vl.captioner

        return getattr(vl.captioner, name)
    raise AttributeError(f"module 'vl' has no attribute {name!r}")
