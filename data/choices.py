"""Choices that flags, configurations and stored files share.

It imports ``typing`` alone, so that a command's help needs no PyTorch.
"""

from typing import Literal

Resize = Literal["squash", "center-crop"]
"""How an image becomes a square: squash the whole image, or crop its center."""

Preprocessing = Literal[Resize, "encoder"]
"""How an image becomes an encoder's input: a resize mode; or the encoder's own way, as timm's."""

Precision = Literal["float32", "bfloat16"]
"""Of an encoder's or a training step's arithmetic."""
AutoPrecision = Literal["auto", Precision]
"""For a flag: ``auto`` is bfloat16 where the device is fast at it."""

Engine = Literal["pytorch", "openvino"]
"""What runs an encoder."""
AutoEngine = Literal["auto", Engine]
"""For a flag: ``auto`` is OpenVINO on a CPU if it is installed."""

Compile = Literal["auto", "always", "never"]
"""With torch.compile; ``auto`` compiles if there are enough images to save time."""
CropCount = Literal[1, 10, 144]
"""Crops of an image to classify: 10 as Krizhevsky et al. 2012, 144 as Szegedy et al. 2015."""

Optimizer = Literal["sgd", "adam", "adagrad", "muon"]
Schedule = Literal["constant", "staircase", "cosine"]
"""Of the learning rate."""
SelectionMetric = Literal["bleu-4", "loss"]
"""By which a captioner's best epoch is chosen."""
SamplingDecay = Literal["linear", "exponential", "inverse-sigmoid"]
"""Of the probability of the true word in scheduled sampling (Bengio et al. 2015, section 2.4)."""
Depth = Literal["last", "blocks", "all"]
"""How much of an encoder is fine-tuned."""

LstmCell = Literal["im2txt", "paper"]
"""``paper`` is equations 4 to 9 of Vinyals et al. 2015; ``im2txt`` has biases and a second tanh."""

RankBy = Literal["log-prob", "minimum-bayes-risk"]
"""How the captions of a beam search are ranked."""
Metric = Literal["bleu", "rouge-l", "cider-d", "cider", "meteor", "spice"]
"""Of captions."""

TableFormat = Literal["text", "markdown", "latex", "csv", "json"]
"""Of a table of systems' scores."""

LabellerMethod = Literal["devise", "conse", "both"]
Synonyms = Literal["first", "mean"]
"""Which word vectors stand for a label: of its first synonym, or the mean of all."""
