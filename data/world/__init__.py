"""The drawn world: scenes whose truth is known, with captions and classes."""
