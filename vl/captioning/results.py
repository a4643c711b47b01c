"""Captions on the way to a file in COCO's results format, and its image ids.

While captions come, they are appended to a part beside the file, from which an interrupted command
goes on.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from vl.captioning.captioner import Caption, CaptionedBatch, Captioner
from vl.data.captions.captions import ImageId, coco_id
from vl.data.errors import FormatError, WriteError
from vl.data.files import keeping
from vl.data.identity import distinct_names
from vl.data.outputs import lock_output
from vl.encoders.weights import fingerprint
from vl.evaluation.read import write_results

_log = logging.getLogger(__name__)
_FORMAT = "vl captions 1"
_START = b'{"format": "vl captions'


def image_ids(paths: Sequence[Path]) -> list[ImageId]:
    """The id of each image: the number in a name of COCO's own form, else the file name.

    Where two files have one name or number, their ids are names with as many folders as tell them
    apart.
    """
    names = distinct_names(paths)
    numbers = [coco_id(path.name) for path in paths]
    names_of: dict[int | None, set[str]] = {}
    for name, number in zip(names, numbers, strict=True):
        names_of.setdefault(number, set()).add(name)
    return [
        name if number is None or len(names_of[number]) > 1 else number
        for name, number in zip(names, numbers, strict=True)
    ]


class ImageState(NamedTuple):
    """An image's file as it was at a time."""

    path: str
    size: int  # bytes
    mtime_ns: int


class CaptionWriter:
    """Appends captions to ``NAME.json.part``; `finish` turns it into ``NAME.json``.

    The part has the settings in its first line, and then a line of JSON an image: path, size, time
    of change and captions. Captions of images that have changed since are not used. A part that is
    of other settings or damaged is removed as a whole.

    Args:
        path: the file in COCO's results format.
        settings: what captions depend on, as JSON-able values.

    Raises:
        FormatError: the part is something else.
        OSError: the part cannot be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self._header = _line({"format": _FORMAT, "settings": settings})
        self._captions: dict[ImageState, list[Caption]] = {}
        if self.part.exists():
            self._read()
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: what is written survives a kill.
        self._file = self.part.open("ab", buffering=0)
        if not self._file.tell():
            self._append(self._header)

    def __len__(self) -> int:
        return len(self._captions)

    def get(self, state: ImageState) -> list[Caption] | None:
        """The captions of an image in this state, from this command or the one before."""
        return self._captions.get(state)

    def add(self, states: Sequence[ImageState | None], captions: Sequence[list[Caption]]) -> None:
        """Append captions, all of them or none, but for those of images of unknown state.

        Args:
            states: of the images before they were read, so that captions are never those of an
                earlier content.
            captions: of each image.

        Raises:
            OSError: the disk is full; the part is as it was before.
        """
        lines = []
        for state, best in zip(states, captions, strict=True):
            if state is not None:
                self._captions[state] = best
                lines.append(_line([*state, best]))
        self._append(b"".join(lines))

    def finish(
        self, captions: Mapping[ImageId, str], file_names: Mapping[ImageId, str] | None = None
    ) -> None:
        """Write the file with these captions, and remove the part."""
        write_results(self.path, captions, file_names)
        self.close()  # Windows removes no open file
        self.part.unlink()

    def close(self) -> None:
        """Close the part."""
        self._file.close()

    def _append(self, content: bytes) -> None:
        size = self._file.tell()
        try:
            while content:
                content = content[self._file.write(content) :]
        except BaseException as error:
            self._file.truncate(size)
            if isinstance(error, OSError):
                raise WriteError(error.errno, error.strerror, str(self.part)) from error
            raise

    def _read(self) -> None:
        """Read the part; without its last line, if a power failure has left that without an end."""
        content = self.part.read_bytes()
        if not content.startswith(_START) and not self._header.startswith(content):
            raise FormatError(self.part, "not a part of captions; move it away")
        *lines, rest = content.split(b"\n")
        problem = ""
        if lines and lines[0] + b"\n" != self._header:
            problem = "of another captioner or other settings"
        try:
            for line in lines[1:]:
                path, size, time, captions = json.loads(line)
                best = [Caption(str(text), float(score), ended) for text, score, ended in captions]
                self._captions[ImageState(str(path), int(size), int(time))] = best
        except (ValueError, TypeError) as error:
            problem = problem or f"damaged: {error}"
        if problem:
            self._captions.clear()
            self.part.unlink()
            _log.warning("%s is removed, as it is %s", self.part, problem)
        elif rest:
            with self.part.open("rb+") as file:
                file.truncate(self.part.stat().st_size - len(rest))


@contextmanager
def caption_writer(path: Path, captioner: Captioner, *, n_best: int) -> Iterator[CaptionWriter]:
    """The writer of a captioner's captions; one process at a time has it.

    Raises:
        BlockingIOError: another process is writing the file.
        OSError: it cannot be written.
    """
    words = "\n".join(captioner.vocabulary.words).encode()
    settings = {
        "encoder": captioner.embedder.fingerprint,
        "resize": captioner.embedder.resize,
        "views": captioner.embedder.views,
        "decoders": [fingerprint(decoder) for decoder in captioner.decoders],
        "vocabulary": hashlib.sha256(words).hexdigest(),
        "search": asdict(captioner.search),
        "n_best": n_best,
    }
    with lock_output(path):
        writer = CaptionWriter(path, settings)

        def describe() -> str:
            part = f"the captions of {len(writer)} images are in {writer.part}"
            return f"{part}, and the same command goes on from there"

        try:
            with keeping(describe):
                yield writer
        finally:
            writer.close()


def caption_files(
    captioner: Captioner, files: Sequence[Path], writer: CaptionWriter | None, *, n_best: int
) -> Iterator[CaptionedBatch]:
    """Captions of files in order: what the writer has already, and new ones, which it gets."""
    states = [None if writer is None else _state(path) for path in files]
    stored = [writer.get(state) if writer and state else None for state in states]
    missing = [index for index, captions in enumerate(stored) if captions is None]

    def batch_of(begin: int, end: int, failures: list[tuple[int, Exception]]) -> CaptionedBatch:
        captions = [(index, best) for index in range(begin, end) if (best := stored[index])]
        indices = [index for index, _ in captions]
        return CaptionedBatch(indices, [best for _, best in captions], failures)

    begin = 0
    for batch in captioner.stream((files[index] for index in missing), n_best=n_best):
        indices = [missing[index] for index in batch.indices]
        failures = [(missing[index], error) for index, error in batch.failures]
        if writer is not None:
            writer.add([states[index] for index in indices], batch.captions)
        for index, captions in zip(indices, batch.captions, strict=True):
            stored[index] = captions
        end = 1 + max([*indices, *(index for index, _ in failures)])
        yield batch_of(begin, end, failures)
        begin = end
    if begin < len(files):
        yield batch_of(begin, len(files), [])


def _state(image: Path) -> ImageState | None:
    try:
        status = image.stat()
    except OSError:  # reported when it is read
        return None
    return ImageState(str(image), status.st_size, status.st_mtime_ns)


def _line(value: object) -> bytes:
    """A line of JSON in ASCII, as the name of a file may be any bytes."""
    return json.dumps(value).encode() + b"\n"
