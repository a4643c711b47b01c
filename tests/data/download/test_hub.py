"""Models by file, folder and name on the Hub, through the Hub's own client."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.fake_hub import TOKEN, FakeHub, fake_hub
from tests.helpers.tiny_captioner import Tiny, captioner, drawings, embedder
from tests.helpers.tiny_labeller import labeller
from vl.captioning.captioner import Captioner
from vl.data.download.hub import find_model
from vl.data.errors import FormatError
from vl.encoders.table import ENCODERS
from vl.encoding.embedder import Embedder
from vl.labelling.labeller import Labeller

ROOT = Path(__file__).resolve().parents[3]
# Every step prints what it returns, or its error. Sockets are refused before anything is imported.
PROGRAM = """
import json, sys
from pathlib import Path
if sys.argv[1] == "offline":
    def refuse(event, arguments):
        if event in ("socket.__new__", "socket.connect", "socket.getaddrinfo"):
            raise SystemExit(f"{event}: a socket was opened")
    sys.addaudithook(refuse)
from vl.data.download.hub import find_model, push_to_hub
class Model:
    encoder_name = "tiny"
    def save(self, path):
        path.write_bytes(b"pushed")
Captioner = type("Captioner", (Model,), {})
for function, arguments, settings in json.loads(sys.argv[2]):
    try:
        if function == "push":
            print(json.dumps(push_to_hub(Captioner(), *arguments, **settings)))
        else:
            print(json.dumps(find_model(*arguments, **settings).read_text()))
    except Exception as error:
        print(json.dumps([type(error).__name__, str(error)]))
    if function == "local" and "huggingface_hub" in sys.modules:
        raise SystemExit("imported huggingface_hub")
"""


def client(home: Path, mode: str, *steps: object, **environment: str) -> list[object]:
    """What each step gives in a process of its own: ``(function, arguments, settings)``."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, mode, json.dumps(steps)],
        cwd=ROOT,
        env={
            **os.environ,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def find(where: str, **settings: object) -> tuple[str, list[str], Mapping[str, object]]:
    return ("find", [where], settings)


def test_client_and_hub(tmp_path: Path) -> None:
    """Revisions, tokens, the cache without a connection, and every kind of absence."""
    old, new = {"model.safetensors": b"old"}, {"model.safetensors": b"new"}
    hub = FakeHub(
        {
            "ann/birds": {"main": new, "v1": old},
            "ann/secret": {"main": new},
            "ann/empty": {"main": {"README.md": b""}},
        },
        private={"ann/secret"},
    )
    with fake_hub(hub) as address:
        results: list[Any] = client(
            tmp_path,
            "online",
            find("ann/birds"),
            find("hf-hub:ann/birds@v1"),
            find("ann/birds", revision="v1", cache_dir=str(tmp_path / "other")),
            find("ann/birds@v1", revision="main"),
            find("ann/birds", force_download=True, local_files_only=True),
            find("ann/secret", token=TOKEN),
            find("ann/secret", token=False, cache_dir=str(tmp_path / "other")),
            find("ann/birds", revision="v3"),
            find("ann/empty"),
            find("ann/none"),
            find("ann/birds", local_files_only=True),
            find("ann/birds", force_download=True),
            HF_ENDPOINT=address,
        )
        gets = [request for request in hub.requests if request.startswith("GET /ann/birds")]
    assert results[:3] == ["new", "old", "old"]
    assert (results.pop(3)[0], results[3][0]) == ("ValueError", "ValueError")
    assert results[4] == "new"
    assert [result[0] for result in results[5:9]] == [
        "OSError",
        "OSError",
        "FileNotFoundError",
        "OSError",
    ]
    for name, (_, message) in zip(("secret", "birds", "empty", "none"), results[5:9], strict=True):
        assert message.startswith(f"ann/{name}: ")
        assert "\n" not in message
    assert results[9:] == ["new", "new"]
    assert len(gets) == 4  # once for each revision and cache, and once more by force

    step = find("ann/birds", local_files_only=True)
    (absent,) = client(tmp_path, "offline", find("ann/other", local_files_only=True))
    assert absent[0] == "FileNotFoundError"
    assert client(tmp_path, "offline", step, HF_ENDPOINT=address) == ["new"]
    assert client(tmp_path, "offline", find("ann/birds"), HF_HUB_OFFLINE="1") == ["new"]


def test_push_creates_the_model_and_keeps_its_card(tmp_path: Path) -> None:
    hub = FakeHub()
    with fake_hub(hub) as address:
        push = ("push", ["ann/birds"], {"token": TOKEN})
        first, refused = client(
            tmp_path, "online", push, ("push", ["ann/birds"], {"token": "no"}), HF_ENDPOINT=address
        )
        files = hub.models["ann/birds"]["main"]
        assert str(first).startswith(f"{address}/ann/birds/commit/")
        assert isinstance(refused, list)
        assert files["model.safetensors"] == b"pushed"
        assert b"pipeline_tag: image-to-text" in files["README.md"]
        files["README.md"] = b"mine"
        client(tmp_path, "online", push, HF_ENDPOINT=address)
        assert files["README.md"] == b"mine"


def test_local_models_open_no_socket_and_need_no_client(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/model.safetensors").write_text("folder")
    (tmp_path / "a.safetensors").write_text("file")
    steps = [("local", [str(tmp_path / name)], {}) for name in ("a.safetensors", "folder")]
    assert client(tmp_path, "offline", *steps) == ["file", "folder"]


@pytest.mark.parametrize(
    ("where", "word"),
    [
        ("none.safetensors", "none.safetensors"),
        ("runs/none.safetensors", "none.safetensors"),
        ("none", "none"),
        (Path("owner/name"), "owner/name"),
        ("empty", "has no model.safetensors"),
        ("a/b/c", "a/b/c"),
    ],
)
def test_missing_local_models_are_not_looked_for_on_the_hub(
    where: str | Path, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=word):
        find_model(where)


def test_without_the_client_the_extra_is_named(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["huggingface_hub"] = None  # as if it were not installed
from vl.data.download.hub import find_model
find_model("owner/name")
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "ModuleNotFoundError" in result.stderr
    assert "pip install 'vl[hub]'" in result.stderr


def test_what_is_saved_is_loaded_strictly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)
    paths = drawings(tmp_path / "images", 2)
    models = [captioner(), labeller(), embedder(views=("plain", "flip"), resize="center-crop")]
    loaded = []
    for model, kind in zip(models, (Captioner, Labeller, Embedder), strict=True):
        folder = tmp_path / kind.__name__
        model.save_pretrained(folder)
        card = (folder / "README.md").read_text()
        assert "library_name: vl" in card
        assert f"- {kind.__name__.lower()}\n" in card
        loaded.append(kind.from_pretrained(folder))
        (folder / "README.md").write_text("mine")
        model.save_pretrained(folder)
        assert (folder / "README.md").read_text() == "mine"
        with pytest.raises(FormatError, match="expected"):  # a model of another kind
            {Captioner: Labeller, Labeller: Captioner, Embedder: Captioner}[kind].from_pretrained(
                folder
            )
    assert loaded[0](paths) == models[0](paths)
    again = Labeller.load(tmp_path / "Labeller/model.safetensors")
    assert loaded[1](paths, labels=["ball", "ring"]) == again(paths, labels=["ball", "ring"])
    assert (loaded[2](paths) == models[2](paths)).all()
    assert loaded[2].config() == models[2].config()
