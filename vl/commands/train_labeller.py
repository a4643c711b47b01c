"""`vl train labeller` and `vl finetune labeller`: labelled images to a labeller.

The first trains a projection into the space of word vectors; the second goes on with the encoder.
"""

from vl.labelling.recipe import LabellerFinetuning, LabellerTraining


def run(flags: LabellerTraining | LabellerFinetuning) -> int:
    """Train or fine-tune."""
    if not flags.images:
        raise ValueError("no images: give folders of classes or lists")
    from vl.labelling.training import finetune_labeller, train_labeller

    if isinstance(flags, LabellerTraining):
        path = train_labeller(flags)
    else:
        path = finetune_labeller(flags)
    if path:
        print(path)
    return 0
