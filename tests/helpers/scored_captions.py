"""Four images with references and candidate captions, as files and by coco-caption."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from vl.__main__ import main
from vl.data.captions.ptb.tokens import words

REFERENCES = {
    11: ["A brown dog runs on the grass.", "The dog is running outside.", "a dog, on grass"],
    7: ["Two men ride horses along a beach.", "Men on horses by the sea", "Horses and riders."],
    23: ["A child's red ball lies on the floor.", "A ball.", "There is a red ball on a floor"],
    5: ["People wait for a train", "A train station with people waiting.", "Waiting people"],
}
CANDIDATES = {
    23: "a red ball lies on the floor .",
    11: "a dog runs on the green grass",
    5: "a train",
    7: "two men ride horses along the sea",
}


def references_file(folder: Path) -> Path:
    """A captions file in COCO's format."""
    images = [{"id": image, "file_name": f"{image:012}.jpg"} for image in REFERENCES]
    pairs = [(image, caption) for image, captions in REFERENCES.items() for caption in captions]
    annotations = [
        {"id": index, "image_id": image, "caption": caption}
        for index, (image, caption) in enumerate(pairs)
    ]
    path = folder / "references.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}), encoding="utf-8")
    return path


def results_file(folder: Path, captions: Mapping[Any, str], name: str = "results.json") -> Path:
    """A results file beside the references."""
    path = folder / name
    records = [{"image_id": image, "caption": caption} for image, caption in captions.items()]
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def coco_caption_scores(captions: Mapping[int, str]) -> dict[str, float]:
    """The scores that pycocoevalcap computes for the same words, times 100."""
    references = {
        image: [" ".join(words(text)) for text in REFERENCES[image]] for image in captions
    }
    candidates = {image: [" ".join(words(caption))] for image, caption in captions.items()}
    bleu, _ = Bleu(4).compute_score(references, candidates, verbose=0)
    rouge, _ = Rouge().compute_score(references, candidates)
    cider, _ = Cider().compute_score(references, candidates)
    names = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D")
    values = (100 * float(value) for value in (*bleu, rouge, cider))
    return dict(zip(names, values, strict=True))


def run_evaluate(*arguments: object) -> int:
    """Run ``vl evaluate`` with these arguments."""
    return main(["evaluate", *map(str, arguments)])
