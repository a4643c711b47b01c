"""scikit-learn's digits as PNG files in folders of classes, split by a seed.

    python scripts/robustness/digits.py OUTPUT

Writes training/, development/ and test/, with 1,000, 297 and 500 of the 1,797 digits. Each has 8
x 8 pixels of 17 gray levels, white on black, and is enlarged by bilinear interpolation to the 32
x 32 of LeNet-5. They are the test set of UCI's Optical Recognition of Handwritten Digits
(Alpaydin and Kaynak 1998, CC BY 4.0), written by 13 people; the split is by digit, not by writer.
"""

from pathlib import Path

import numpy as np
import tyro
from PIL import Image
from sklearn.datasets import load_digits

SPLITS = {"training": 1000, "development": 297, "test": 500}
SEED = 0
MAX_LEVEL = 16  # a pixel counts the ink in 4 x 4 finer ones
SIDE = 32


@tyro.conf.configure(tyro.conf.PositionalRequiredArgs, tyro.conf.PositionalMetavarFromFieldName)
def main(output: Path) -> int:
    """Write the images."""
    digits = load_digits()
    if len(digits.images) != sum(SPLITS.values()):
        raise ValueError(f"{len(digits.images)} digits; expected {sum(SPLITS.values())}")
    # The legacy generator gives the same permutation in every version of NumPy.
    order = np.random.RandomState(SEED).permutation(len(digits.images))
    begin = 0
    for split, count in SPLITS.items():
        for row in order[begin : begin + count]:
            folder = output / split / str(digits.target[row])
            folder.mkdir(parents=True, exist_ok=True)
            gray = np.round(digits.images[row] * 255 / MAX_LEVEL).astype(np.uint8)  # (8, 8)
            image = Image.fromarray(gray).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            image.save(folder / f"{row:04}.png")
        begin += count
    return 0


if __name__ == "__main__":
    raise SystemExit(tyro.cli(main))
