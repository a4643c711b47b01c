"""Captioning: the captioner, its search settings and its training."""
