"""OpenSSH's configuration files: which are read, in which order, and what in them is in vain.

asyncssh reads them, and this module sees to what it does otherwise: the files that a wildcard
includes come in no certain order, some options are not obeyed without a word, the tokens of some
others are not replaced, and an equals sign in the command of a `Match exec` is none of the command.

All of it blocks, and is called in a thread; what is read is kept (see :mod:`sshjobs.files`).
"""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.text import safe_line

from .files import FileCache

log = logging.getLogger("sshjobs")

TOO_LONG = 100
MANY = 50
"""From so many blocks on it pays to leave those of other hosts out."""

_OBEYED = """
    host match include addressfamily bindaddress casignaturealgorithms certificatefile
    challengeresponseauthentication ciphers compression enablesshkeysign forwardagent
    globalknownhostsfile gssapiauthentication gssapidelegatecredentials hostbasedauthentication
    hostkeyalgorithms hostname hostkeyalias identitiesonly identityagent identityfile
    kbdinteractiveauthentication kexalgorithms macs passwordauthentication pkcs11provider port
    preferredauthentications proxycommand proxyjump pubkeyauthentication rekeylimit tag
    tcpkeepalive user userknownhostsfile
"""
OBEYED = frozenset(_OBEYED.split())
"""The options that are obeyed, in lower case; case does not matter."""
INSTEAD = {
    "stricthostkeychecking": 'host keys are always checked, see known_hosts="accept-new"',
    "connecttimeout": "see connect_timeout=",
    "connectionattempts": "see retry= of jobs",
    "serveraliveinterval": "see keepalive=",
    "serveralivecountmax": "see keepalive=",
    "requesttty": "see pty= of commands",
    "remotecommand": "the commands are those of the jobs",
    "sendenv": "see env= of commands",
    "setenv": "see env= of commands",
}
"""What to do instead of some that are not."""


@dataclass(frozen=True, slots=True)
class _Outline:
    """What a file says about itself.

    Attributes:
        ignored: what it asks for in vain.
        first: the patterns of the files that it includes before it says anything.
        later: those that it includes elsewhere.
        lines: all of it, in asyncssh's words.
        is_reworded: whether these are others than the user's.
        blocks: the first and the last but one line of what is about certain hosts only, with their
            names, in lower case.
    """

    ignored: tuple[str, ...]
    first: tuple[str, ...]
    later: tuple[str, ...]
    lines: tuple[str, ...]
    is_reworded: bool
    blocks: tuple[tuple[int, int, frozenset[str]], ...]


def reading_order(path: str, *outer: str) -> list[str]:
    """Return the files that asyncssh is to read for `path`, and tell what is in vain in them.

    The first to say something is right.  So what a file includes at its very beginning can as well
    be read before it, in the order of the names, as OpenSSH does.

    Args:
        path: a configuration file.
        outer: the files that include it.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is no text, or files include each other.
    """
    if path in outer:
        raise ValueError(f"{path} includes itself")
    outline = _outlines.get(path)
    _tell(path, outline.ignored)
    before = _included(outline.first, path, *outer)
    _included(outline.later, path, *outer)
    return [*before, path] if len(before) > 1 else [path]


def for_asyncssh(path: str, host: str) -> str | None:
    """Return what asyncssh is to read in the place of a configuration file; None: the file itself.

    It takes 40 milliseconds for a thousand hosts, and does so for each of them: what is about other
    hosts is left out, line by line.
    """
    outline = _outlines.get(path)
    is_long = len(outline.blocks) >= MANY
    if not (is_long or outline.is_reworded):
        return None
    lines = list(outline.lines)
    for start, end, names in outline.blocks if is_long else ():
        if host.lower() not in names:
            lines[start:end] = [""] * (end - start)
    return "\n".join(lines)


def replace_tokens(text: str, tokens: Mapping[str, str]) -> str:
    """Return `text` with its tokens, and the variables of the environment in it, replaced.

    >>> replace_tokens("%r@gw.%h", {"h": "lab", "r": "me"})
    'me@gw.lab'
    """
    text = re.sub(r"%(.)", lambda found: {"%": "%", **tokens}.get(found[1], found[0]), text)
    return re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], found[0]), text)


def _included(patterns: tuple[str, ...], *outer: str) -> list[str]:
    return [
        each
        for pattern in patterns
        for file in _files(pattern)
        for each in reading_order(file, *outer)
    ]


def _files(pattern: str) -> list[str]:
    path = Path("~/.ssh", Path(pattern).expanduser()).expanduser()
    found = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
    return sorted(str(file) for file in found if file.is_file() and file.name[0] != ".")


def _read_outline(path: str) -> _Outline:
    ignored: dict[str, None] = {}
    first: list[str] = []
    later: list[str] = []
    blocks: list[tuple[int, int, frozenset[str]]] = []
    block: tuple[int, frozenset[str]] | None = None
    is_beginning = True
    text = _text(path).splitlines()
    lines = [_reworded(line) for line in text]
    for number, line in enumerate([*text, "Host *"]):
        words = re.split(r"[\s=]+", line.strip().replace('"', ""))
        option = words[0].lower()
        if not option or option.startswith("#"):
            continue
        if option == "include":
            (first if is_beginning else later).extend(words[1:])
        else:
            is_beginning = False
            ignored |= dict.fromkeys(_vain(option, words))
        if option in ("host", "match"):
            if block is not None:
                blocks.append((block[0], number, block[1]))
            names = _names(line) if option == "host" else None
            block = None if names is None else (number, names)
    return _Outline(
        tuple(ignored), tuple(first), tuple(later), tuple(lines), lines != text, tuple(blocks)
    )


def _reworded(line: str) -> str:
    """Return a line without an equals sign in what a `Match exec` is to run."""
    if "=" not in line or not re.match(r"\s*match\b", line, re.IGNORECASE):
        return line
    try:
        words = shlex.split(line)
    except ValueError:  # asyncssh will tell
        return line
    for place, word in enumerate(words[:-1], 1):
        if word.lower() == "exec" and "=" in words[place]:
            command = words[place].replace("\\", "\\\\").replace("=", "\\0075")
            words[place] = f'eval "$(printf %b {shlex.quote(command)})"'
    return shlex.join(words)


def _names(line: str) -> frozenset[str] | None:
    """Return whom a line ``Host`` is about; None if that may be anybody."""
    if re.search(r"[^\w\s.:=-]", line):  # wildcards, quotes and the like
        return None
    return frozenset(re.split(r"[\s=]+", line.strip().lower())[1:])


def _vain(option: str, words: list[str]) -> list[str]:
    """Return the words of a line as something that is not obeyed; nothing if it is."""
    if option == "match":
        return ["tokens in Match exec"] if "exec" in words and "%" in " ".join(words) else []
    if option in OBEYED or (option == "stricthostkeychecking" and words[1:] in (["yes"], ["ask"])):
        return []
    advice = f" ({INSTEAD[option]})" if option in INSTEAD else ""
    return [safe_line(" ".join(words), TOO_LONG) + advice]


def _text(path: str) -> str:
    data = Path(path).read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: this is not UTF-8") from error
    if text.startswith("\ufeff"):
        # To OpenSSH, too, its first line would be an option of an unknown name.
        raise ValueError(f"{path}: it begins with a byte order mark, save it without")
    return text


_outlines: FileCache[_Outline] = FileCache(_read_outline)
_told: set[tuple[str, ...]] = set()


def _tell(path: str, ignored: tuple[str, ...]) -> None:
    """Tell what a file asks for in vain, once for each file as it is."""
    if ignored and (path, *ignored) not in _told:
        _told.add((path, *ignored))
        log.warning("%s: not obeyed: %s", path, ", ".join(ignored))
