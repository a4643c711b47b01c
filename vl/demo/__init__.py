"""The demonstration on the drawn world."""
