"""Which files are photographs, and the count of those that are not."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from vl.data.errors import FormatError
from vl.data.images.decode import decode
from vl.data.images.files import SUFFIXES, LeftOut, find_images, suffix_of_content


def test_finds_images_of_a_folder_and_keeps_files(tmp_path):
    folder = tmp_path / ".album"  # a hidden folder is searched itself
    for name in ("b.JPG", "a/c.png", "notes.txt", ".hidden.jpg", ".cache/d.jpg", "z.gif", "a.jpeg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    other = tmp_path / "other.txt"
    other.touch()
    images = [folder / "a" / "c.png", folder / "a.jpeg", folder / "b.JPG", folder / "z.gif"]
    assert find_images([other, folder]) == [other, *images]
    assert find_images([]) == []


def test_names_missing_paths_and_empty_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg"):
        find_images([tmp_path / "nowhere.jpg"])
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match=r"bare: .*no image"):
        find_images([tmp_path / "bare"])


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"?")


def test_counts_by_kind_what_is_no_photograph(tmp_path):
    fill(tmp_path, "a.jpg", "b.JFIF", "c.cr2", "d.DNG", "e/f.nef", "g.mov", "h.psd", "i.txt")
    fill(tmp_path, "j.csv", "k.txt", "notes", ".hidden.mp4")
    (tmp_path / "e" / "link").symlink_to(tmp_path)
    (tmp_path / "gone.jpg").symlink_to(
        tmp_path / "nowhere.jpg"
    )  # reading it fails, and is reported
    left_out = LeftOut()
    images = find_images([tmp_path], left_out)
    assert [image.name for image in images] == ["a.jpg", "b.JFIF", "gone.jpg"]
    assert str(left_out) == (
        "3 raw photographs (CR2, DNG, NEF; convert to JPEG or TIFF), "
        "1 video (MOV; save frames as JPEG), 1 picture of another format (PSD), "
        "1 link to a folder, 4 other files (TXT, no suffix, CSV)"
    )
    with pytest.raises(ValueError, match=r"no image; left out: 1 raw photograph \(NEF; .*link"):
        find_images([tmp_path / "e"])


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF"]
)
def test_content_decides_without_a_suffix(kind, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "IMG_1", kind)
    fill(folder, "LICENSE")
    (folder / "empty").touch()
    left_out = LeftOut()
    assert find_images([folder], left_out) == [folder / "IMG_1"]
    assert str(left_out) == "2 other files (no suffix)"
    assert suffix_of_content((folder / "IMG_1").read_bytes()[:16]) in SUFFIXES


def test_pipes_and_sockets_are_never_opened(tmp_path, monkeypatch):
    fill(tmp_path, "a.jpg")
    pipe = tmp_path / "z.jpg"
    os.mkfifo(pipe)
    (tmp_path / "y.jpg").symlink_to(pipe)
    os.mkfifo(tmp_path / "x")
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.png")
        left_out = LeftOut()
        assert find_images([tmp_path], left_out) == [tmp_path / "a.jpg"]
        assert str(left_out) == "3 named pipes, 1 socket"
    for read in (decode, lambda path: find_images([path])):
        for path, kind in ((pipe, "named pipe"), (Path("/dev/zero"), "device")):
            with pytest.raises(FormatError, match=f"{path}: a {kind}"):
                read(path)


def test_heic_is_read_with_the_extra_and_counted_without(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.new("RGB", (64, 32), (200, 40, 40))).save(tmp_path / "a.heic")
    assert find_images([tmp_path]) == [tmp_path / "a.heic"]
    pixels = decode(tmp_path / "a.heic")
    assert pixels.shape == (3, 32, 64)
    assert (pixels[:, 5, 5] * 255).tolist() == pytest.approx([200, 40, 40], abs=6)


def test_without_the_extra_the_line_names_it(tmp_path):
    fill(tmp_path, "a.jpg", "b.HEIC", "c.heif")
    script = """
import sys
sys.modules["pillow_heif"] = None  # as if it were not installed
from pathlib import Path
from vl.data.images.files import LeftOut, find_images
left_out = LeftOut()
print(len(find_images([Path(sys.argv[1])], left_out)), left_out)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output == "1 2 HEIC (pip install 'vl[heif]')\n"
