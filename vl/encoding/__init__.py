"""Encoders at work: embedding, pretrained weights, training, fine-tuning, evaluation."""
