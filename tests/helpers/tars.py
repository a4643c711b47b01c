"""Tars of samples in WebDataset's format."""

import io
import tarfile


def tar(path, *members, form=tarfile.USTAR_FORMAT):
    """A tar of names and contents; None as content makes a folder, a TarInfo is added unchanged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as file:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if content is None:
                if not isinstance(name, tarfile.TarInfo):
                    member.type = tarfile.DIRTYPE
                file.addfile(member)
                continue
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def sample(key, content=b"image", label=b"0", suffix=".jpg"):
    return [(f"{key}{suffix}", content), (f"{key}.cls", label)]
