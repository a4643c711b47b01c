"""Files into tensors and words."""
