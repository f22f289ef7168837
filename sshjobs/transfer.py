"""Push and Pull: files, folders and globs, from here to a node and back.

::

    Push("conf", "/etc/conf")           # a file or a folder; the target is its new name
    Push("conf", "/etc/")               # a trailing / means inside: /etc/conf
    Push("conf/*.ini", "/etc/lab/")     # those that match, inside
    Pull("/tmp/trace.pcap", "out/")     # out/trace.pcap; the folder out is made if need be

A copy goes in two steps.  First all that is to be copied is listed, and checked: nothing is written
before the last name is known to be harmless.  Then the folders are made and the files copied, many
at once, each under a temporary name beside its target, which it gets when it is complete.

What comes out, in either direction:

* permissions are those of the source, without set-id and sticky bits, subject to the umask; folders
  can be written by their owner; owners and times are not copied;
* a file that is there is replaced by a new one, a link likewise; a device, a pipe or a socket that
  is named as the target is not;
* a file of this machine that has holes has them over there; in a file of a node, where nobody
  tells, whole blocks of zeros become holes;
* a link that is named by itself, or by a glob, is followed.  Inside a folder it is copied as a
  link if it stays inside; one that leads out is left out, as are devices, pipes and sockets, and
  told: in the result (`Completed.stderr`), as output of the job, and in the log;
* a folder that exists already gets the new files beside its old ones; a link in its place is not
  followed, but for the one that was named;
* names come from the other side: ``..``, a ``/``, a control character or the same name twice is an
  :class:`~sshjobs.UnsafePath`.

The first failure ends a copy.  However it ends, its temporary files are taken away, but where the
link is gone: ``.NAME.TOKEN.part`` then stays over there.  A later copy leaves it alone.
"""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from os import PathLike, fspath
from typing import TypedDict, Unpack

from engine import BadOption, output
from engine.text import safe_line, safe_repr

from .commands import Command, Session
from .copying import Copy
from .filesystem import FileSystem
from .local_files import LocalFiles
from .remote_files import RemoteFiles
from .results import Completed

FileName = str | PathLike[str] | Callable[[], str | PathLike[str]]

_log = logging.getLogger("sshjobs")
_Ends = tuple[FileSystem, FileSystem]


class _Options(TypedDict, total=False):
    label: str | None
    timeout: float | None
    max_files: int


class _Transfer(Command):
    """What Push and Pull have in common."""

    phase = "transfer"
    verb = ""

    def __init__(
        self,
        source: FileName,
        target: FileName,
        *,
        label: str | None = None,
        timeout: float | None = None,
        max_files: int = 100_000,
    ) -> None:
        super().__init__(label=label, timeout=timeout)
        self._source = _checked(source)
        self._target = _checked(target)
        self._max_files = max_files

    def describe(self) -> str:
        """Return what is copied where; a path that is not known yet reads ``...``."""
        names = ("..." if callable(name) else name for name in (self._source, self._target))
        return safe_line(" ".join([self.verb, *names]), 120)

    async def run_on(self, session: Session) -> Completed:
        """Copy; raises TransferFailed, or another SshError if the link is at fault.

        In the result, `stdout` says how much was copied, `stderr` what was left out and why.
        """
        started = time.monotonic()
        source, target = _value(self._source), _value(self._target)
        async with self._ends(session) as (reading, writing):
            copy = Copy(session.node, reading, writing, self._max_files)
            await copy.run(reading.expand(source), writing.expand(target))
        for line in copy.left_out:
            output(f"left out: {line}", stream="stderr")
        if copy.left_out:
            _log.warning(
                "%s: left out: %s", self.describe(), safe_line("; ".join(copy.left_out), 500)
            )
        told = "".join(f"{line}\n" for line in copy.left_out)
        return Completed(
            (self.verb, source, target),
            stdout_bytes=f"{copy.summary()}\n".encode(),
            stderr_bytes=told.encode("utf-8", "replace"),
            duration=time.monotonic() - started,
        )

    @abstractmethod
    def _ends(self, session: Session) -> AbstractAsyncContextManager[_Ends]:
        """Return the file system to read from and the one to write to."""


class Push(_Transfer):
    """Copy a file, a folder or what matches a glob from here to the node.

    Args:
        local: what to copy; relative to the folder of this process, ``~`` as in a shell.
        remote: its new name or, with a trailing ``/``, the folder to put it in, which is made if
            only that one is missing; relative to the user's home.
        label: as for all commands.
        timeout: likewise.
        max_files: refuse to copy more files than that, folders and links counted.

    Both paths may be functions, called when the command starts.  See :mod:`sshjobs.transfer` for
    permissions, links, what is left out and what is refused.  The `stdout` of the result says how
    much it was (``3 files, 1 folder: 24 bytes``), its `stderr` what was left out.

    Raises:
        TransferFailed: something cannot be read or written; `path` says what.
        UnsafePath: a name that would lead out of the target.
        ConnectionLost: the link broke.
        SshTimeout: it took longer than `timeout`.

    >>> Push("conf/*.ini", "/etc/lab/").describe()
    'push conf/*.ini /etc/lab/'
    """

    verb = "push"

    def __init__(self, local: FileName, remote: FileName, **options: Unpack[_Options]) -> None:
        super().__init__(local, remote, **options)

    @asynccontextmanager
    async def _ends(self, session: Session) -> AsyncGenerator[_Ends, None]:
        async with _other_side(session) as there:
            yield LocalFiles(session), there


class Pull(_Transfer):
    """Copy a file, a folder or what matches a glob from the node to here.

    Args:
        remote: what to copy; relative to the user's home.
        local: its new name or, with a trailing ``/``, the folder to put it in, which is made if
            only that one is missing; relative to the folder of this process, ``~`` as in a shell.
        label: as for all commands.
        timeout: likewise.
        max_files: refuse to copy more files than that, folders and links counted.

    Both paths may be functions, called when the command starts.  See :mod:`sshjobs.transfer` for
    permissions, links, what is left out and what is refused.  The `stdout` of the result says how
    much it was (``3 files, 1 folder: 24 bytes``), its `stderr` what was left out.

    Raises:
        TransferFailed: something cannot be read or written; `path` says what.
        UnsafePath: a name that would lead out of the target.
        ConnectionLost: the link broke.
        SshTimeout: it took longer than `timeout`.

    >>> Pull("/tmp/trace.pcap", "out/").describe()
    'pull /tmp/trace.pcap out/'
    """

    verb = "pull"

    def __init__(self, remote: FileName, local: FileName, **options: Unpack[_Options]) -> None:
        super().__init__(remote, local, **options)

    @asynccontextmanager
    async def _ends(self, session: Session) -> AsyncGenerator[_Ends, None]:
        async with _other_side(session) as there:
            yield there, LocalFiles(session)


@asynccontextmanager
async def _other_side(session: Session) -> AsyncGenerator[FileSystem, None]:
    if await session.connection() is None:
        yield LocalFiles(session)
    else:
        async with session.sftp() as client:
            yield RemoteFiles(session, client)


def _checked(name: FileName) -> str | Callable[[], str | PathLike[str]]:
    """Return a path as text; BadOption, at the user's line, if it cannot be one."""
    if callable(name):
        return name
    try:
        path: object = fspath(name)
    except TypeError:
        path = None
    if not isinstance(path, str) or not path or "\0" in path:
        raise BadOption(f"not a path: {safe_repr(name, 80)}: give text or a Path", "path", name)
    return path


def _value(name: str | Callable[[], str | PathLike[str]]) -> str:
    """Return a path, now that it must be known."""
    path = _checked(name() if callable(name) else name)
    if callable(path):
        raise BadOption("a function that stands for a path must return a path", "path", name)
    return path
