"""`vl train labeller`: labelled images and word vectors to a labeller.

Its flags are the configuration that the library takes.
"""

from vl.labelling.recipe import LabellerTraining


def run(flags: LabellerTraining) -> int:
    """Run the training, and print the path of the labeller's file.

    Raises:
        ValueError: there are no images, or see ``train_labeller``.
    """
    if not flags.images:
        raise ValueError("no images: give folders of classes or lists")
    from vl.labelling.training import train_labeller

    if path := train_labeller(flags):
        print(path)
    return 0
