"""What a job does on a node: the commands, told apart from how they get there.

A command is made where the user writes it and checked there.  It is carried out by
:meth:`Command.run_on`, which gets a :class:`Session`: one job's hold on a node, here or remote.
"""

from __future__ import annotations

import re
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Never, Protocol, TypedDict, Unpack

import asyncssh

from engine import BadOption
from engine.text import safe_line, safe_repr

from .errors import CommandFailed, SshError
from .node import AnyNode
from .output import Capture, check_capture
from .results import Completed
from .script import Launch, Private, Word
from .secret import Secret

Text = str | Secret
Value = Text | int | float | PathLike[str]
Argument = Value | Callable[[], Value]

SIGNALLED = 128
"""Shells tell a signal by its number on top of that."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHOWN = 80


class Session(Protocol):
    """One job's hold on a node, as a command sees it."""

    @property
    def node(self) -> AnyNode:
        """The node, for messages."""

    async def connection(self) -> asyncssh.SSHClientConnection | None:
        """Return the node's connection, opened or reopened if need be; None on a LocalNode.

        Raises:
            SshError: why there is none.
        """

    def sftp(self) -> AbstractAsyncContextManager[asyncssh.SFTPClient]:
        """Return a context that gives an sftp client.

        The client is shared by all jobs of the node: do not close it.  It raises asyncssh's own
        errors; `failure` translates them.
        """

    async def run(self, launch: Launch, argv: str | tuple[str, ...], capture: Capture) -> Completed:
        """Run a process and return how it ended; `argv` is what to show of it.

        Raises:
            SshError: it could not be started, or nobody knows how it ended.
        """

    def failure(self, error: Exception, phase: str, path: str | None = None) -> Exception:
        """Return the SshError that tells what asyncssh (or the system) means by `error`."""


class Command(ABC):
    """Base of all commands.

    Args:
        label: how it is called in messages; made from what it does when not given.
        timeout: seconds, over which it is ended and fails with SshTimeout; None: no bound.
    """

    phase = "command"
    """What SshTimeout says went on: ``"command"`` or ``"transfer"``."""

    def __init__(self, *, label: str | None = None, timeout: float | None = None) -> None:
        check_seconds(timeout)
        if label is not None and not isinstance(label, str):
            raise BadOption(f"label={safe_repr(label, _SHOWN)}: give text", "label", label)
        self.label = label
        self.timeout = timeout

    @abstractmethod
    async def run_on(self, session: Session) -> Completed:
        """Carry it out; raises SshError.

        The job applies `timeout` by cancelling this coroutine, which then has the engine's
        `cancel_grace` to clean up, as for any cancellation.
        """

    @abstractmethod
    def describe(self) -> str:
        """Return what it does, in one line without secrets, for labels and messages."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {safe_line(self.label or self.describe(), _SHOWN)}>"


class ProcessOptions(TypedDict, total=False):
    """The options of commands that start a process.

    Attributes:
        label: how it is called in messages.
        timeout: seconds, over which it is ended and fails with SshTimeout.
        cwd: the folder to run in; by default the user's home, on a LocalNode the current folder.
        env: variables to add to the environment.
        input: what it reads from its standard input, which is empty otherwise.
        sudo: True runs it as root by ``sudo -n``, a Secret is the password to do so.
        pty: whether to give it a terminal.
        capture: what to keep of its output: None the last MiB of each stream, True all, False
            nothing; a path sends the standard output to that file (here).
        check: whether a status or signal that is not allowed is a failure.
        allowed_exits: statuses and signals (``"TERM"``) that are no failure, besides 0.  Over ssh
            only ABRT, ALRM, FPE, HUP, ILL, INT, KILL, PIPE, QUIT, SEGV, TERM, USR1 and USR2 have
            names.
    """

    label: str | None
    timeout: float | None
    cwd: Argument | None
    env: Mapping[str, Argument] | None
    input: bytes | Text | Path | Callable[[], bytes | Text | Path] | None
    sudo: bool | Secret
    pty: bool
    capture: Capture
    check: bool
    allowed_exits: Iterable[int | str]


class ProcessCommand(Command):
    """Base of the commands that start a process; its options are those of ProcessOptions."""

    def __init__(self, **options: Unpack[ProcessOptions]) -> None:
        super().__init__(label=options.get("label"), timeout=options.get("timeout"))
        self.cwd = _checked_folder(options.get("cwd"))
        self.env = _checked_env(options.get("env") or {})
        self.input = _checked_input(options.get("input"))
        self.sudo = _checked_sudo(options.get("sudo", False))
        self.pty = options.get("pty", False)
        self.capture = options.get("capture")
        self.check = options.get("check", True)
        self.allowed_exits = _checked_exits(options.get("allowed_exits", ()))
        check_capture(self.capture)
        unknown = options.keys() - ProcessOptions.__annotations__.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__}() has no option {min(unknown)!r}")

    async def run_on(self, session: Session) -> Completed:
        """Run it; raises CommandFailed unless it ended in an allowed way, or `check` is False."""
        try:
            launch = self.launch()
            completed = await session.run(launch, shown(launch.words), self.capture)
        except SshError:
            raise
        except OSError as error:  # a script, the input or the captured output: files of ours
            raise session.failure(error, self.phase, error.filename) from error
        if self.check and not self.allows(completed):
            said = completed.last_words()
            problem = f"{completed.command}: {completed.outcome()}{': ' * bool(said)}{said}"
            raise CommandFailed(problem, node=session.node, phase="command", completed=completed)
        return completed

    @abstractmethod
    def launch(self) -> Launch:
        """Return it with all values known: callables are called now."""

    def allows(self, completed: Completed) -> bool:
        """Whether it may end in this way.

        A shell tells a signal of its last command as a status, 128 and the signal's number; that is
        allowed where the signal is.
        """
        if completed.exit_status == 0:
            return True
        if completed.exit_signal is not None:
            return completed.exit_signal in self.allowed_exits
        return completed.exit_status in self.allowed_exits or any(
            completed.exit_status == SIGNALLED + signal.Signals[f"SIG{name}"]
            for name in self.allowed_exits
            if isinstance(name, str) and f"SIG{name}" in signal.Signals.__members__
        )

    def _launch(self, words: str | tuple[Word, ...], files: Mapping[str, bytes]) -> Launch:
        given, hidden = _input(self.input)
        return Launch(
            words=words,
            cwd=None if self.cwd is None else _folder(self.cwd),
            env={name: _text(f"env {name}", value) for name, value in self.env.items()},
            input=given,
            files=files,
            sudo=self.sudo,
            pty=self.pty,
            hidden=hidden,
        )


class Run(ProcessCommand):
    """A command: a shell line, or an argument vector that no shell gets to see.

    Args:
        command: a string is a line for the login shell (``/bin/sh`` on a LocalNode), as typed
            after ``ssh host``; a list is an argument vector, each word passed on as it is.
        options: see :class:`ProcessOptions`.

    The line, a word, and the values of `cwd`, `env` and `input` may be functions without arguments,
    called when the command starts, so that the result of one job feeds the next::

        Run(lambda: f"ping -c 1 {address.result().stdout.strip()}")

    Raises:
        BadOption: an option makes no sense, or a word holds a NUL.

    >>> Run("ls | wc -l"), Run(["echo", "a b"], env={"LANG": "C"}, timeout=10)
    (<Run ls | wc -l>, <Run echo a b>)
    """

    def __init__(
        self,
        command: str | Callable[[], str | Iterable[Argument]] | Iterable[Argument],
        *words: Never,
        **options: Unpack[ProcessOptions],
    ) -> None:
        if words:
            vector = safe_repr([command, *words], _SHOWN)
            raise TypeError(f"Run() takes one command; an argument vector is a list: Run({vector})")
        super().__init__(**options)
        self.command: str | Callable[[], str | Iterable[Argument]] | tuple[Argument, ...]
        if isinstance(command, str) or callable(command):
            self.command = command
        else:
            self.command = _checked_words(command)
        if isinstance(command, str):
            _check_line(command)

    def launch(self) -> Launch:
        """Return it with all values known."""
        return self._launch(self._words(), {})

    def _words(self) -> str | tuple[Word, ...]:
        if isinstance(self.command, tuple):
            return _arguments(self.command)
        line = self.command if isinstance(self.command, str) else self.command()
        if not isinstance(line, str):
            # A function may as well return a vector.
            return _arguments(_checked_words(line))
        return _check_line(line)

    def describe(self) -> str:
        """Return the command, as far as it is known before it starts."""
        if isinstance(self.command, tuple):
            return " ".join(_described(word) for word in self.command)
        return _described(self.command)


class RunString(ProcessCommand):
    """A script given as text: put into a private folder over there, run, and removed.

    Args:
        text: the script; its first line may say what runs it (``#!``), else it is ``/bin/sh``.
        args: its arguments, as in :class:`Run`.
        includes: local files to put beside it, which it finds in ``"$(dirname "$0")"``.
        options: see :class:`ProcessOptions`.

    >>> RunString("echo $1", "hello")
    <RunString script hello>
    """

    name = "script"

    def __init__(
        self,
        text: str | Callable[[], str],
        *args: Argument,
        includes: Iterable[str | PathLike[str]] = (),
        **options: Unpack[ProcessOptions],
    ) -> None:
        super().__init__(**options)
        if not callable(text):
            _plain("text", text)
        self.text = text
        self.args = args
        self.includes = _checked_includes(includes, self.name)

    def launch(self) -> Launch:
        """Return it with all values known, and the script and its includes read."""
        files = {path.name: path.read_bytes() for path in self.includes}
        files[self.name] = self._content()
        return self._launch((Private(self.name), *_arguments(self.args)), files)

    def _content(self) -> bytes:
        return _plain("text", self.text).encode("utf-8", "surrogateescape")

    def describe(self) -> str:
        """Return the script's name and arguments."""
        return " ".join([self.name, *(_described(word) for word in self.args)])


class RunScript(RunString):
    """A local script: put into a private folder over there, run, and removed.

    Args:
        path: the script.
        args: its arguments, as in :class:`Run`.
        includes: more local files, put beside it.
        options: see :class:`ProcessOptions`.

    >>> RunScript("scripts/setup.sh", "eth0", includes=["scripts/lib.sh"])
    <RunScript setup.sh eth0>
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *args: Argument,
        includes: Iterable[str | PathLike[str]] = (),
        **options: Unpack[ProcessOptions],
    ) -> None:
        self.path = Path(path)
        self.name = self.path.name
        super().__init__("", *args, includes=includes, **options)

    def _content(self) -> bytes:
        return self.path.read_bytes()


def shown(words: str | tuple[Word, ...]) -> str | tuple[str, ...]:
    """Return what to show of a command: secrets read ``***``."""
    if isinstance(words, str):
        return words
    return tuple(word.name if isinstance(word, Private) else str(word) for word in words)


def _described(value: Any) -> str:
    """Return a value in words, without calling it."""
    if callable(value) and not isinstance(value, Secret):
        name = getattr(value, "__name__", type(value).__name__)
        return name if name.startswith("<") else f"<{name}>"
    return str(value)


def _checked_includes(includes: Any, script: str) -> tuple[Path, ...]:
    several = (includes,) if isinstance(includes, (str, PathLike)) else tuple(includes)
    paths = tuple(Path(path) for path in several)
    names = [script, *(path.name for path in paths)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        problem = f"includes: {safe_repr(twice, _SHOWN)} is there twice, and all go into one folder"
        raise BadOption(problem, "includes", includes)
    return paths


def _check_line(line: str) -> str:
    _text("command", line)
    if not line.strip():
        raise BadOption(
            "an empty command: give a shell line or an argument vector", "command", line
        )
    return line


def _checked_words(given: Any) -> tuple[Argument, ...]:
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise BadOption(
            f"not a command: {safe_repr(given, _SHOWN)}; give a shell line or an argument vector",
            "command",
            given,
        )
    words: tuple[Argument, ...] = tuple(given)
    if not words:
        raise BadOption("an empty argument vector: give at least a program", "command", words)
    for place, word in enumerate(words):
        if not callable(word):
            text = _text("command", word)
            if place == 0 and isinstance(text, str) and (not text or text.startswith("-")):
                raise BadOption(
                    f"not a program: {safe_repr(text, _SHOWN)}; a name that begins with a dash "
                    "needs its folder, as in ./-name",
                    "command",
                    words,
                )
    return words


def _arguments(words: Iterable[Argument]) -> tuple[Word, ...]:
    return tuple(_text("command", word) for word in words)


def _text(option: str, value: Any) -> Text:
    """Return a value as the text that goes over, called first if it is a function."""
    if callable(value) and not isinstance(value, (str, Secret)):
        value = value()
    if isinstance(value, PathLike):
        value = fspath(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, (str, Secret)):
        raise BadOption(f"{option}: {safe_repr(value, _SHOWN)} is not a string", option, value)
    if b"\0" in _encoded(option, value):
        raise BadOption(f"{option}: a value cannot hold a NUL", option, value)
    return value


def _encoded(option: str, value: Text) -> bytes:
    text = value.reveal() if isinstance(value, Secret) else value
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        problem = f"{option}: {safe_repr(value, _SHOWN)} is no text: it holds half a character"
        raise BadOption(problem, option, value) from None


def _plain(option: str, value: Any) -> str:
    text = _text(option, value)
    if isinstance(text, Secret):
        raise BadOption(
            f"{option}: a Secret would be seen; give it by env= or input=", option, None
        )
    return text


def _folder(value: Any) -> str:
    folder = _plain("cwd", value)
    if not folder:
        raise BadOption("cwd='': give a folder, or None for the usual one", "cwd", folder)
    return folder


def _checked_folder(value: Any) -> Any:
    if value is not None and not callable(value):
        _folder(value)
    return value


def _checked_input(value: Any) -> Any:
    if not (callable(value) or isinstance(value, PathLike)):
        _input(value)
    return value


def _input(value: Any) -> tuple[bytes | None, tuple[Secret, ...]]:
    """Return the input as bytes, and the secrets in it."""
    if callable(value):
        value = value()
    if isinstance(value, PathLike):
        return Path(value).read_bytes(), ()
    if isinstance(value, (str, Secret)):
        return _encoded("input", value), (value,) if isinstance(value, Secret) else ()
    if value is None or isinstance(value, bytes):
        return value, ()
    problem = f"input={safe_repr(value, _SHOWN)}: give text, bytes, a Secret or a Path"
    raise BadOption(problem, "input", value)


def check_seconds(timeout: Any) -> None:
    """Refuse what is no bound of time; BadOption."""
    is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if timeout is not None and not (is_number and timeout >= 0):
        problem = f"timeout={safe_repr(timeout, _SHOWN)}: give a number of seconds"
        raise BadOption(problem, "timeout", timeout)


def _checked_env(env: Any) -> dict[str, Argument]:
    if not isinstance(env, Mapping):
        raise BadOption(f"env={safe_repr(env, _SHOWN)}: give a mapping", "env", env)
    for name, value in env.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise BadOption(
                f"env: {safe_repr(name, _SHOWN)} is no name for a variable", "env", name
            )
        if not callable(value):
            _text(f"env {name}", value)
    return dict(env)


def _checked_sudo(sudo: Any) -> bool | Secret:
    if not isinstance(sudo, (bool, Secret)):
        # Not shown: it is most likely a password.
        raise BadOption("sudo: give True, or a Secret with the password", "sudo", None)
    if isinstance(sudo, Secret):
        _text("sudo", sudo)
    return sudo


def _checked_exits(exits: Any) -> frozenset[int | str]:
    known = {name.removeprefix("SIG") for name in signal.Signals.__members__}
    allowed: set[int | str] = set()
    for value in (exits,) if isinstance(exits, (int, str)) else exits:
        name = value.removeprefix("SIG").upper() if isinstance(value, str) else value
        good = (
            name in known if isinstance(name, str) else isinstance(name, int) and name in range(256)
        )
        if not good:
            raise BadOption(
                f"allowed_exits: {safe_repr(value, _SHOWN)} is neither a status nor a signal",
                "allowed_exits",
                value,
            )
        allowed.add(name)
    return frozenset(allowed)
