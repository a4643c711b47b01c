r"""`vl train captioner`: captions and cached embeddings to a captioner.

    $ vl train captioner --embeddings images.npy \
        --captions tokens.txt --train-list train.txt --dev-list dev.txt --output-dir run
    run/captioner.safetensors

The file has the captioner of the best epoch.
"""

from vl.captioning.recipe import CaptionerTraining


def run(flags: CaptionerTraining) -> int:
    """Train."""
    from vl.captioning.training import train_captioner

    path = train_captioner(flags)
    if path:  # in the first process
        print(path)
    return 0
