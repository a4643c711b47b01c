"""README and documentation: no placeholder, no dead link, no command that the command line refuses.

The checks take a text, so that a planted fault shows that each can fail.
"""

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from functools import cache
from io import StringIO
from itertools import takewhile
from pathlib import Path

import pytest

from vl.__main__ import COMMANDS, parse

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = sorted((ROOT / "scripts").rglob("*.sh"))
PLACEHOLDER = re.compile(r"@[A-Z]+\d*@|\b(?:TBD|TODO|FIXME|XXX)\b|<[A-Z_ ]{3,}>|^[A-Z]{3,}$", re.M)
LINK = re.compile(r"\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
# Before a command: a prompt, an interpreter, torchrun with its own flags.
COMMAND = re.compile(r"^(?:\$ )?(?:\S*/)?(?:(?:torchrun|python)\b.*? -m )?vl (?P<arguments>.*)$")
FLAG = re.compile(r"(?<=[\s(│])--[a-z][a-z-]*")


def placeholders(text: str, path: Path) -> list[str]:
    """What the author wanted to fill in later."""
    return [match[0] for match in PLACEHOLDER.finditer(text)]


def dead_links(text: str, path: Path) -> list[str]:
    """Relative links to files or headings that do not exist."""
    problems = []
    for link in LINK.findall(BLOCK.sub("", text)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, heading = link.partition("#")
        target = path.parent / name
        if not target.exists():
            problems.append(link)
        elif heading:
            content = target.read_text(encoding="utf-8") if name else text
            problems += [] if heading in headings(content) else [link]
    return problems


def refused_commands(text: str, path: Path) -> list[str]:
    """Commands in code blocks that the command line refuses, whether or not their files exist."""
    problems = []
    for arguments in commands(text):
        try:
            parse(arguments)
        except (ValueError, SystemExit) as error:
            if str(error) != "0":
                problems.append(f"vl {shlex.join(arguments)}: {error}")
    return problems


def unknown_flags(text: str, path: Path) -> list[str]:
    """Flags in a shell script that its commands do not have; their values may be variables.

    Flags in a shell function or an array must be those of any command.
    """
    problems = []
    for line in re.sub(r"^\s*#.*", "", text.replace("\\\n", " "), flags=re.M).splitlines():
        _, _, arguments = line.rpartition(" -m vl ") if " -m vl " in line else line.partition("vl ")
        if not arguments and "python " in line:  # a script of the study
            continue
        words, names = arguments.split(), list(COMMANDS)
        if words and words[0].startswith('"$'):  # vl "$verb" captioner
            names = [name for name in COMMANDS if name.endswith(f" {words[1]}")]
        elif words:
            names = [name for name in COMMANDS if words[: len(name.split())] == name.split()]
        known = {flag for name in names for flag in flags_of(name)}
        problems += [flag for flag in FLAG.findall(arguments or line) if flag not in known]
    return problems


@cache
def flags_of(name: str) -> set[str]:
    """Every flag in the help of a command."""
    with redirect_stdout(StringIO()) as stream, suppress(SystemExit):
        parse([*name.split(), "--help"])
    return set(FLAG.findall(stream.getvalue()))


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of every `vl` command in the code blocks of a document."""
    for language, block in BLOCK.findall(text):
        if language in ("python", "json", "ini"):
            continue
        for line in block.replace("\\\n", " ").split("\n"):
            match = COMMAND.match(line.strip())
            if match and "..." not in match["arguments"]:
                words = shlex.split(match["arguments"], comments=True)
                yield list(takewhile(lambda word: word not in ("|", ">", "<", ";", "&&"), words))


def headings(text: str) -> set[str]:
    """Anchors of the headings of a document, as Markdown makes them."""
    titles = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


Check = Callable[[str, Path], list[str]]
CHECKS = (placeholders, dead_links, refused_commands)
FAULTS = [
    (placeholders, "It takes @TIME@ seconds."),
    (placeholders, "TBD"),
    (placeholders, "```\nCAPTION\n```"),
    (dead_links, "[page](nowhere.md)"),
    (dead_links, "![image](nowhere.png)"),
    (dead_links, "[part](#nowhere)"),
    (dead_links, "[part](CONTRIBUTING.md#nowhere)"),
    (refused_commands, "```\nvl capture image.jpg\n```"),
    (refused_commands, "```\n$ vl caption image.jpg --model m --no-such-flag 3\n```"),
    (refused_commands, "```\nvl caption image.jpg \\\n    --model m --batch-size 0\n```"),
    (refused_commands, "```\ntorchrun --nproc-per-node 2 -m vl train nothing\n```"),
    (unknown_flags, 'vl caption "$images" \\\n    --model m --no-such-flag 3'),
    (unknown_flags, 'vl "$verb" captioner --labels a'),
    (unknown_flags, "python -m torch.distributed.run --standalone -m vl train encoder --lr 1"),
    (unknown_flags, "common=(--no-such-flag)"),
    (unknown_flags, "vl capture --model m"),
]
SOUND = """# A title

[page](README.md), [part](#a-title), [site](https://example.org/nowhere.md)

```
$ vl --version
vl caption image.jpg --model model.safetensors --n-best 3 | head    # a comment
vl train captioner ...
```
"""
SOUND_SCRIPT = """# vl capture --nothing
common=(--device cpu)
vl "$verb" captioner --seed 1
python -m torch.distributed.run --standalone -m vl train encoder --epochs 1 "${common[@]}"
"""


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_are_sound(check: Check, path: Path) -> None:
    assert check(path.read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_scripts_use_flags_that_exist(path: Path) -> None:
    assert unknown_flags(path.read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize(("check", "fault"), FAULTS)
def test_planted_fault_is_found(check: Check, fault: str) -> None:
    assert len(check(fault, README)) >= 1


def test_sound_texts_have_no_fault() -> None:
    assert [check(SOUND, README) for check in CHECKS] == [[], [], []]
    assert unknown_flags(SOUND_SCRIPT, README) == []


def test_commands_are_found() -> None:
    assert sum(len(list(commands(path.read_text(encoding="utf-8")))) for path in DOCUMENTS) > 30
