"""OpenSSH's configuration files: which are read, in which order, and what in them is in vain.

asyncssh reads them, and this module sees to what it does otherwise: the files that a wildcard
includes come in no certain order, some options are not obeyed without a word, and the tokens of
some others are not replaced.

All of it blocks, and is called in a thread; what is read is kept (see :mod:`sshjobs.files`).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.text import safe_line

from .files import FileCache

log = logging.getLogger("sshjobs")

TOO_LONG = 100

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
    """

    ignored: tuple[str, ...]
    first: tuple[str, ...]
    later: tuple[str, ...]


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
    is_beginning = True
    for line in _text(path).splitlines():
        words = re.split(r"[\s=]+", line.strip().replace('"', ""))
        option = words[0].lower()
        if not option or option.startswith("#"):
            continue
        if option == "include":
            (first if is_beginning else later).extend(words[1:])
        else:
            is_beginning = False
            ignored |= dict.fromkeys(_vain(option, words))
    return _Outline(tuple(ignored), tuple(first), tuple(later))


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
