"""Small caption evaluations, as their outputs are tested with."""

from collections.abc import Sequence

from vl.data.captions.captions import CaptionedImage
from vl.data.captions.ptb.tokens import words
from vl.evaluation.output import CaptionEvaluation, ScoredSystem
from vl.evaluation.pairing import PairedCaptions
from vl.metrics.diversity import diversity
from vl.metrics.evaluator import Evaluator
from vl.metrics.significance import Resampling, compare_scores


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
    scored = evaluator(candidates)
    system, comparisons = None, []
    if baseline is not None:
        pairs = PairedCaptions(images, baseline, 2, 5)
        system = ScoredSystem("runs/b.json", pairs, evaluator(baseline))
        comparisons = compare_scores(scored.scores, system.scored.scores, num_resamples=20)
    return CaptionEvaluation(
        evaluator=evaluator,
        system=ScoredSystem(name, PairedCaptions(images, candidates, 2, 1), scored),
        corpus_scores=evaluator.corpus_scores(scored.scores, num_resamples=num_resamples),
        resampling=Resampling(num_resamples, 0.9, 4),
        sources=["data/references.json"],
        baseline=system,
        comparisons=comparisons,
        diversity=diversity([words(text) for text in candidates]) if with_diversity else None,
    )
