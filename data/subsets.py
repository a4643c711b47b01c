"""Some of labelled pictures: a share of each class put aside, or other numbers for the classes."""

from collections.abc import Sequence

import torch

from data.pictures import Pictures


class Subset:
    """Some pictures of others; can be pickled if those can.

    Args:
        of: the pictures.
        rows: which of them.
        labels: of each row, if not those that it has there.
        classes: what the labels are places in, if not what they are there.

    Raises:
        ValueError: there are not as many labels as rows.
    """

    def __init__(
        self,
        of: Pictures,
        rows: Sequence[int],
        *,
        labels: Sequence[int] | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        if labels is not None and len(labels) != len(rows):
            raise ValueError(f"{len(labels)} labels for {len(rows)} pictures")
        self._of = of
        self._rows = rows
        self.names: Sequence[str] = tuple(of.names[row] for row in rows)
        self.labels: Sequence[int] = (
            tuple(of.labels[row] for row in rows) if labels is None else labels
        )
        self.classes: Sequence[str] = of.classes if classes is None else classes
        self.notes: Sequence[str] = of.notes

    def read(self, row: int) -> bytes:
        """A picture as it is encoded.

        Raises:
            OSError: it cannot be read.
        """
        return self._of.read(self._rows[row])


def aside(pictures: Pictures, share: float, *, seed: int) -> tuple[Subset, Subset]:
    """The pictures to train on, and those of each class that are put aside.

    Args:
        pictures: all.
        share: of each class that is put aside, rounded; a class keeps at least one picture, and
            one that has two or more gives at least one.
        seed: of the choice.

    Raises:
        ValueError: the share is none, or no class has two pictures.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; it must be between 0 and 1")
    generator = torch.Generator().manual_seed(seed)
    members: list[list[int]] = [[] for _ in pictures.classes]
    for row in torch.randperm(len(pictures.labels), generator=generator).tolist():
        members[pictures.labels[row]].append(row)
    kept, put = [], []
    for rows in members:
        given = min(max(round(share * len(rows)), 1), len(rows) - 1) if len(rows) > 1 else 0
        put += rows[:given]
        kept += rows[given:]
    if not put:
        raise ValueError("no class has two pictures, of which one could be put aside")
    return Subset(pictures, sorted(kept)), Subset(pictures, sorted(put))
