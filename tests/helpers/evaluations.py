"""Small caption evaluations, as their outputs are tested with."""

from collections.abc import Sequence

from vl.data.captions.captions import CaptionedImage
from vl.data.captions.ptb.tokens import words
from vl.evaluation.output import CaptionEvaluation, ScoredSystem
from vl.evaluation.pairing import PairedCaptions
from vl.metrics.diversity import diversity
from vl.metrics.evaluator import Evaluator
from vl.metrics.significance import Resampling


def evaluation(
    images: list[CaptionedImage],
    candidates: list[str],
    baseline: list[str] | None = None,
    *,
    name: str = "runs/a.json",
    metrics: Sequence[str] = ("bleu", "rouge-l"),
    with_diversity: bool = False,
    num_resamples: int = 20,
) -> CaptionEvaluation:
    """Candidates, perhaps compared with a baseline; 2 captions missing, 1 and 5 unmatched."""
    evaluator = Evaluator([image.captions for image in images], metrics=metrics)

    def system(name: str, captions: list[str], num_unmatched: int) -> ScoredSystem:
        pairs = PairedCaptions(images, captions, 2, num_unmatched)
        return ScoredSystem(name, pairs, evaluator(captions))

    return CaptionEvaluation(
        evaluator,
        system(name, candidates, 1),
        Resampling(num_resamples, 0.9, 4),
        baseline=None if baseline is None else system("runs/b.json", baseline, 5),
        sources=["data/references.json"],
        diversity=diversity([words(text) for text in candidates]).scaled(100)
        if with_diversity
        else None,
    )
