"""Labelled images for training: folders, shards, datasets and the loader."""
