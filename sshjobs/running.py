"""See a command through, on whichever node: from its values to its result, or to its end.

What differs between a node over ssh (:mod:`sshjobs.session`) and this machine
(:mod:`sshjobs.local`) is how a process is started, and what errors mean.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from contextlib import suppress

import asyncssh

from engine.text import safe_line

from .errors import SshError
from .node import AnyNode
from .output import Capture, Output, Tell
from .process import KILL_MARGIN, Process
from .results import Completed
from .script import Launch, stage
from .secret import mask

log = logging.getLogger("sshjobs")

Argv = str | tuple[str, ...]
_SHOWN = 80


class Runner(ABC):
    """One job's hold on a node, as far as running commands goes.

    Attributes:
        interrupted: what is known of the last command, if it was cancelled.

    Args:
        tell: called with lines of output; see :class:`sshjobs.output.Lines`.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._processes: set[Process] = set()
        self._stages: list[str] = []
        self._last: Process | None = None
        self.interrupted: Completed | None = None

    @property
    @abstractmethod
    def node(self) -> AnyNode:
        """The node."""

    @property
    @abstractmethod
    def _shell(self) -> str | None:
        """The login shell; None: not known yet."""

    @abstractmethod
    async def connection(self) -> asyncssh.SSHClientConnection | None:
        """Return the node's connection, opened or reopened if need be; None on this machine."""

    @abstractmethod
    async def _carry_out(
        self, launch: Launch, folder: str | None, output: Output, argv: Argv
    ) -> Process:
        """Start a process and see it through; return it.

        Args:
            launch: the command.
            folder: where it has been staged, if it had to be.
            output: what takes its output.
            argv: what to show of it.
        """

    @abstractmethod
    def _unknown(self, process: Process, completed: Completed) -> SshError:
        """Return the error for a command of which nobody knows how it ended."""

    async def run(self, launch: Launch, argv: Argv, capture: Capture) -> Completed:
        """Run a command and return how it ended.

        Raises:
            SshError: it could not be started, or nobody knows how it ended.
            OSError: its output could not be written to the file given by `capture`.
        """
        self._forget()
        folder = await self._staged(launch, argv) if launch.needs_staging(self._shell) else None
        output = Output(capture, _masking(self._tell, launch))
        try:
            process = await self._carry_out(launch, folder, output, argv)
        except BaseException:
            with suppress(OSError):
                output.close()
            if self._last is not None:
                self.interrupted = _result(self._last, output, argv, launch)
            raise
        output.close()
        if process.unwritten is not None:
            raise process.unwritten
        completed = _result(process, output, argv, launch)
        if not process.is_known:
            raise self._unknown(process, completed)
        if completed.exit_signal is None and not process.began:
            # A forced command, or a login shell that is none: how that ended says nothing of ours.
            said = f"{completed.outcome()}: {completed.last_words()}".removesuffix(": ")
            problem = (
                f"something else was run instead of {completed.command}: {said}; look at the login "
                "shell, at what it reads when it starts, and at ForceCommand of the server"
            )
            raise SshError(problem, node=self.node, phase="command", completed=completed)
        await self._unstage()
        return completed

    def _forget(self) -> None:
        self._last = None
        self.interrupted = None

    async def _see_through(self, process: Process, argv: Argv) -> None:
        """Wait for the end of a process; if we are cancelled, make it end.

        If nobody knows whether it did, the CancelledError tells so.  If we are cancelled again
        meanwhile, `close` has the rest to do.
        """
        self._processes.add(process)
        self._last = process
        try:
            await process.wait()
        except asyncio.CancelledError:
            ended = await process.end()
            self._processes.discard(process)
            if ended:
                raise
            told = safe_line(argv if isinstance(argv, str) else " ".join(argv), _SHOWN)
            problem = f"{self.node}: {told}: it may still run there"
            log.warning("%s", problem)
            raise asyncio.CancelledError(problem) from None
        self._processes.discard(process)

    async def _staged(self, launch: Launch, argv: Argv) -> str:
        """Put a command that is for a terminal into a private folder; return its name."""
        await self.connection()
        staging = asyncio.create_task(self.run(stage(launch), argv, capture=True))
        try:
            staged = await asyncio.shield(staging)
        except asyncio.CancelledError:
            # A moment later we have the name of the folder, and can remove it.
            try:
                await asyncio.wait([staging], timeout=KILL_MARGIN)
            finally:
                staging.cancel()
                if staging.done() and not staging.cancelled() and staging.exception() is None:
                    with suppress(SshError):
                        self._keep(staging.result())
            raise
        return self._keep(staged)

    def _keep(self, staged: Completed) -> str:
        """Return the name of the folder that was made, which is to be removed one day."""
        # What login scripts print comes before.
        folder = staged.stdout.rpartition("\n")[2]
        if staged.exit_status != 0 or not folder.startswith("/"):
            problem = f"no private folder: {staged.outcome()}: {staged.last_words()}"
            raise SshError(problem, node=self.node, phase="command", completed=staged)
        self._stages.append(folder)
        return folder

    async def _unstage(self) -> None:
        """Remove the private folders of commands that are over; that they are stays true."""
        folders, self._stages = self._stages, []
        if not folders:
            return
        problem: object = None
        try:
            removed = await self.run(Launch(("rm", "-rf", *folders)), "unstage", capture=False)
            if removed.exit_status != 0:
                problem = f"rm: {removed.outcome()}"
        except SshError as error:
            problem = error
        except BaseException:
            self._stages += folders
            raise
        if problem is not None:
            log.warning("%s: %s: left behind: %s", self.node, ", ".join(folders), problem)

    async def close(self) -> None:
        """End what still runs, and remove what was staged for it."""
        try:
            await asyncio.gather(*(process.end() for process in self._processes))
            await self._unstage()
        finally:
            self._stages.clear()
            self._processes.clear()


def _result(process: Process, output: Output, argv: Argv, launch: Launch) -> Completed:
    stdout, stdout_is_cut = output.value("stdout")
    stderr, stderr_is_cut = output.value("stderr")
    return Completed(
        argv=argv,
        exit_status=process.exit_status,
        exit_signal=process.exit_signal,
        stdout_bytes=stdout,
        stderr_bytes=stderr,
        duration=process.duration,
        truncated=stdout_is_cut or stderr_is_cut,
        secrets=launch.secrets,
    )


def _masking(tell: Tell, launch: Launch) -> Tell:
    """Return `tell` such that it never sees a secret of `launch`."""
    hidden = launch.secrets
    if not hidden:
        return tell

    def tell_masked(lines: bytes, stream: str, complete: bool) -> None:
        tell(mask(lines.decode("utf-8", "replace"), hidden).encode(), stream, complete)

    return tell_masked
