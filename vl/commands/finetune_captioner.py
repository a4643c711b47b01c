r"""`vl finetune captioner`: encoder and decoder of a captioner trained together, on images.

    $ vl finetune captioner --model run/captioner.safetensors --image-dir images \
        --captions tokens.txt --train-list train.txt --dev-list dev.txt --output-dir tuned
    tuned/captioner.safetensors

The file has the captioner of the best epoch.
"""

from vl.captioning.recipe import CaptionerFinetuning


def run(flags: CaptionerFinetuning) -> int:
    """Fine-tune."""
    from vl.captioning.training import finetune_captioner

    path = finetune_captioner(flags)
    if path:  # in the first process
        print(path)
    return 0
