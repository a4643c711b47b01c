"""`vl finetune labeller`: a labeller's encoder and projection, trained together on images.

Its flags are the configuration that the library takes.
"""

from vl.labelling.recipe import LabellerFinetuning


def run(flags: LabellerFinetuning) -> int:
    """Run the training, and print the path of the labeller's file.

    Raises:
        ValueError: there are no images, or see ``finetune_labeller``.
    """
    if not flags.images:
        raise ValueError("no images: give folders of classes or lists")
    from vl.labelling.training import finetune_labeller

    if path := finetune_labeller(flags):
        print(path)
    return 0
