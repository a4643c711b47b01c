r"""`vl self-critical captioner`: the decoder of a captioner trained on a reward.

    $ vl self-critical captioner --model run/captioner.safetensors --embeddings images.npy \
        --captions tokens.txt --train-list train.txt --dev-list dev.txt --output-dir tuned
    tuned/captioner.safetensors

The file has the captioner of the best epoch.
"""

from vl.captioning.recipe import SelfCriticalTraining


def run(flags: SelfCriticalTraining) -> int:
    """Train."""
    from vl.captioning.training import self_critical_captioner

    path = self_critical_captioner(flags)
    if path:  # in the first process
        print(path)
    return 0
