"""Models by file, folder or name on the Hugging Face Hub, and what a folder of one holds.

What is on this machine is found without ``huggingface_hub``, and so without a connection. Loading
is always strict: see ``vl.bundle``.
"""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from vl.data.files import write_text
from vl.version import __version__

MODEL_FILE = "model.safetensors"
CARD_FILE = "README.md"
# Tasks by class: pipeline_tag in the Hub's metadata of models.
_TASKS = {
    "Captioner": "image-to-text",
    "Labeller": "zero-shot-image-classification",
    "Embedder": "image-feature-extraction",
}
_NAME = re.compile(r"(?:hf-hub:)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)
_LIBRARY = {"library_name": "vl", "library_version": __version__}


class HasEncoder(Protocol):
    """A captioner, labeller or embedder."""

    @property
    def encoder_name(self) -> str:
        """Of the encoder, in the table of encoders."""

    def save(self, path: Path | str) -> None:
        """Write the model's file."""


def find_model(
    where: Path | str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: Path | str | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Path:
    """The file of a model.

    Args:
        where: the file, a folder that has it as ``model.safetensors``, or a name on the Hub:
            ``owner/name``, ``hf-hub:owner/name@revision``. What exists on this machine is not
            looked for on the Hub.
        revision: branch, tag or commit on the Hub.
        token: for private models; by default that of ``hf auth login``.
        cache_dir: where downloads are kept; by default the Hub's own cache.
        force_download: download again what is in the cache.
        local_files_only: use the cache alone; so does ``HF_HUB_OFFLINE=1``.

    Raises:
        ModuleNotFoundError: it is on the Hub, and the extra ``hub`` is not installed.
        OSError: there is no such file, folder, model or revision; the model has no
            ``model.safetensors``; or the Hub cannot be reached.
        ValueError: two different revisions, or two arguments that exclude each other.
    """
    path = Path(where)
    if path.is_dir():
        if not (path / MODEL_FILE).is_file():
            raise FileNotFoundError(f"{path}: the folder has no {MODEL_FILE}")
        return path / MODEL_FILE
    match = _NAME.fullmatch(where) if isinstance(where, str) else None
    if path.exists() or match is None or path.suffix == ".safetensors":
        path.open("rb").close()  # raises where there is none
        return path
    if revision and match[2] and revision != match[2]:
        raise ValueError(f"{where} with the revision {revision}: give one revision")
    if force_download and local_files_only:
        raise ValueError("force_download and local_files_only exclude each other")
    revision = revision or match[2]
    hub = _import_hub()
    if local_files_only or hub.constants.HF_HUB_OFFLINE:
        # Not by hf_hub_download, which opens a connection for its User-Agent even then (2.4.0).
        cached = hub.try_to_load_from_cache(
            match[1], MODEL_FILE, cache_dir=cache_dir, revision=revision
        )
        if not isinstance(cached, str):
            raise FileNotFoundError(f"{where}: neither here nor in the cache of the Hub, offline")
        return Path(cached)
    try:
        return Path(
            hub.hf_hub_download(
                match[1],
                MODEL_FILE,
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                force_download=force_download,
                **_LIBRARY,
            )
        )
    # Some of its errors name neither the model nor, in one line, the problem.
    except (OSError, hub.errors.EntryNotFoundError) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        problem = f"{where}: not here, and from the Hub: {type(error).__name__}: {reason}"
        if isinstance(error, hub.errors.EntryNotFoundError):
            raise FileNotFoundError(problem) from error
        raise OSError(problem) from error


def save_pretrained(model: HasEncoder, folder: Path | str) -> None:
    """Write a folder that ``from_pretrained`` reads: the model, and a card if there is none yet.

    Args:
        model: a captioner, labeller or embedder.
        folder: made if it does not exist.

    Raises:
        OSError: it cannot be written.
    """
    folder = Path(folder)
    model.save(folder / MODEL_FILE)
    if not (folder / CARD_FILE).exists():
        write_text(folder / CARD_FILE, _card(model))


def push_to_hub(
    model: HasEncoder,
    name: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    private: bool | None = None,
    commit_message: str = "Upload a model of vl",
) -> str:
    """Upload what ``save_pretrained`` writes; a card that is there already stays.

    Args:
        model: a captioner, labeller or embedder.
        name: ``owner/name`` on the Hub; made if there is none.
        revision: branch; by default ``main``.
        token: with the right to write; by default that of ``hf auth login``.
        private: whether a new one is; by default as the owner has chosen.
        commit_message: of the upload.

    Returns:
        The address of the commit.

    Raises:
        ModuleNotFoundError: the extra ``hub`` is not installed.
        OSError: the Hub cannot be reached, or refuses.
    """
    api = _import_hub().HfApi(token=token, **_LIBRARY)
    api.create_repo(name, private=private, exist_ok=True)
    has_card = api.file_exists(name, CARD_FILE, revision=revision)
    with TemporaryDirectory() as folder:
        save_pretrained(model, folder)
        commit = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            revision=revision,
            commit_message=commit_message,
            ignore_patterns=[CARD_FILE] if has_card else None,
        )
    return str(commit.commit_url)


def _import_hub() -> Any:
    """huggingface_hub, imported only when it is needed."""
    try:
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "models on the Hugging Face Hub need the extra hub: pip install 'vl[hub]'",
            name=error.name,
        ) from error
    return huggingface_hub


def _card(model: HasEncoder) -> str:
    name = type(model).__name__
    return f"""---
library_name: vl
pipeline_tag: {_TASKS[name]}
tags:
- vl
- {name.lower()}
- {model.encoder_name}
---

# {name}

```python
import vl

model = vl.{name}.from_pretrained("owner/name")
```

The encoder is {model.encoder_name}. Say here what the model was trained on, how well it does, and
under which license it is.
"""
