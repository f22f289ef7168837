"""SshJob: commands on one node, in order, as one job of an engine."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable
from typing import Any

from engine import AbstractJob, BadOption, output, ready, report
from engine.text import safe_line, safe_repr

from .commands import Command, Run
from .errors import ConnectionLost, SshError, SshTimeout
from .local import LocalSession
from .node import AnyNode, LocalNode, SshNode
from .output import Tell
from .reaching import is_port_open
from .results import Completed
from .session import SshSession

log = logging.getLogger("sshjobs")

_LABEL = 60
_PORT_PAUSES = (0.05, 1.0)
_LAST_PORT = 65535
CUT = frozenset({"TERM", "HUP", "KILL"})
"""What ends a shell whose machine goes down, where sshd still has the time to tell."""
DOWN = 3.0
"""Seconds that a machine may take to cut our connection once the command that took it down has
ended; what comes next is then not sent to a machine that is on its way down."""

Commands = str | Command | Iterable[Command]
Ready = str | re.Pattern[str] | int | None


class SshJob(AbstractJob):
    r"""Commands on one node, carried out in order; the first that fails ends the job.

    The node's connection is made when the first command needs it, shared with all other jobs of the
    node, and closed when the last of them has been shut down.  If the job is cancelled or runs out
    of time, so does what it runs over there: TERM, two seconds, KILL, for the whole process group.

    Args:
        node: an :class:`SshNode` or a :class:`LocalNode`.
        commands: a shell line, a command (:class:`Run`, :class:`RunScript`, :class:`RunString`,
            :class:`Push`, :class:`Pull`), or a list of commands.
        ready: for a forever job: it is ready once a line of its output matches this regular
            expression, or once this port of the node accepts connections; implies `notify`.
        expect_disconnect: for a last command that takes the machine down: it is a success whether
            it ends with status 0 or the connection is cut first.
        options: those of :class:`engine.AbstractJob`.

    Its result is that of the last command, a :class:`Completed`; `results` holds all of them, that
    of one that failed or was ended included.  `target` is the node.

    Raises:
        BadOption: the commands or an option make no sense.

    >>> job = SshJob(LocalNode(), "echo hello")
    >>> from engine import Engine
    >>> Engine(job).orchestrate()
    True
    >>> job.result().stdout
    'hello\n'
    """

    def __init__(
        self,
        node: AnyNode,
        commands: Commands,
        *,
        ready: Ready = None,
        expect_disconnect: bool = False,
        **options: Any,
    ) -> None:
        self.target = _checked_node(node)
        self.commands = _checked(commands)
        self.expect_disconnect = expect_disconnect
        self._pattern, self._port = _checked_ready(ready)
        if ready is not None:
            options["notify"] = True
        if options.get("label") is None:
            told = "; ".join(command.label or command.describe() for command in self.commands)
            options["label"] = safe_line(f"{node.hostname}: {told}", _LABEL)
        super().__init__(**options)
        self._session: SshSession | LocalSession | None = None
        self._results: list[Completed] = []
        self._is_ready = False

    @property
    def host(self) -> str:
        """The name of the node."""
        return self.target.hostname

    def result(self) -> Completed:
        """Return that of the last command, or raise why there is none, as all jobs do."""
        completed: Completed = super().result()
        return completed

    @property
    def results(self) -> tuple[Completed, ...]:
        """The results of the commands so far, or in the last run.

        The last may be that of the command which failed, or was ended: what it said by then, and
        how it ended, as far as that is known.
        """
        return tuple(self._results)

    def details(self) -> str:
        """Return the commands, in one line."""
        return safe_line("; ".join(c.label or c.describe() for c in self.commands))

    async def corun(self) -> Completed:
        """Carry out the commands and return the result of the last."""
        self._results = []
        self._is_ready = False
        if self._session is None:
            self._session = _session(self.target, self._hear)
        if self._port is None:
            return await self._carry_out_all(self._session)
        try:
            async with asyncio.TaskGroup() as group:
                trying = group.create_task(self._try_port(self._session, self._port))
                try:
                    return await self._carry_out_all(self._session)
                finally:
                    trying.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def coshutdown(self) -> None:
        """End what may still run, and let go of the connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _carry_out_all(self, session: SshSession | LocalSession) -> Completed:
        for place, command in enumerate(self.commands, 1):
            is_last = place == len(self.commands)
            if place > 1 or not is_last:
                report(command.label or command.describe())
            carry_out = self._take_down if self.expect_disconnect and is_last else self._carry_out
            stale = session.interrupted
            try:
                self._results.append(await carry_out(command, session))
            except BaseException as error:
                known = error.completed if isinstance(error, SshError) else None
                if known is None and session.interrupted is not stale:
                    known = session.interrupted
                if known is not None:
                    self._results.append(known)
                raise
        return self._results[-1]

    async def _take_down(self, command: Command, session: SshSession | LocalSession) -> Completed:
        """Carry out what takes the machine down, and see the connection go with it."""
        try:
            completed = await self._carry_out(command, session)
        except SshError as error:
            ended = error.completed
            if ended is None or not (isinstance(error, ConnectionLost) or ended.exit_signal in CUT):
                raise
            return ended
        if isinstance(session, SshSession):
            await session.wait_lost(DOWN)
        return completed

    async def _carry_out(self, command: Command, session: SshSession | LocalSession) -> Completed:
        try:
            async with asyncio.timeout(command.timeout) as bound:
                return await command.run_on(session)
        except TimeoutError as error:
            if isinstance(error, SshError) or not bound.expired():
                raise
            said = error.__cause__.args if error.__cause__ else ()
            more = "; it may still run there" if said else ""
            name = safe_line(command.label or command.describe(), 120)
            completed = session.interrupted if command.phase == "command" else None
            last = completed.last_words() if completed is not None else ""
            problem = f"{name}: not over after {command.timeout:g} s{more}{': ' * bool(last)}{last}"
            raise SshTimeout(
                problem, node=self.target, phase=command.phase, completed=completed
            ) from error

    def _hear(self, lines: bytes, stream: str, complete: bool) -> None:
        """Pass on what a command printed; it may be what tells that the job is ready."""
        if self._pattern is not None and not self._is_ready:
            text = lines.decode("utf-8", "replace")
            if any(self._pattern.search(line) for line in text.splitlines()):
                self._is_ready = True
                ready()
        if complete:
            output(lines, stream)

    async def _try_port(self, session: SshSession | LocalSession, port: int) -> None:
        """Try the port until somebody listens there."""
        pause, longest = _PORT_PAUSES
        while not await is_port_open(session, port):
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)
        ready()


def _session(node: AnyNode, tell: Tell) -> SshSession | LocalSession:
    return LocalSession(tell) if isinstance(node, LocalNode) else SshSession(node, tell)


def _checked_node(node: Any) -> AnyNode:
    if not isinstance(node, (SshNode, LocalNode)):
        problem = f"SshJob: {safe_repr(node, 80)} is no node: give an SshNode or a LocalNode"
        raise BadOption(problem, "node", node)
    return node


def _checked(commands: Any) -> tuple[Command, ...]:
    if isinstance(commands, str):
        return (Run(commands),)
    if isinstance(commands, Command):
        return (commands,)
    try:
        several = tuple(commands)
    except TypeError:
        problem = f"SshJob: {safe_repr(commands, 80)} is no command: give a shell line, or a Run"
        raise BadOption(problem, "commands", commands) from None
    if not several:
        raise BadOption("SshJob: no commands", "commands", commands)
    if all(isinstance(command, str) for command in several):
        raise BadOption(
            f"SshJob: {safe_repr(commands, 80)}: is this one command, or several? "
            "For an argument vector write Run([...]); for several lines, [Run(...), Run(...)]",
            "commands",
            commands,
        )
    for command in several:
        if not isinstance(command, Command):
            advice = (
                "wrap it, as Run(...)" if isinstance(command, str) else "give a Run or the like"
            )
            problem = f"SshJob: {safe_repr(command, 80)} is no command: {advice}"
            raise BadOption(problem, "commands", command)
    return several


def _checked_ready(value: Any) -> tuple[re.Pattern[str] | None, int | None]:
    if value is None:
        return None, None
    if isinstance(value, str):
        try:
            return re.compile(value), None
        except re.error as error:
            problem = f"ready={safe_repr(value, 80)}: not a regular expression: {error}"
            raise BadOption(problem, "ready", value) from None
    if isinstance(value, re.Pattern):
        return value, None
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LAST_PORT:
        return None, value
    problem = f"ready={safe_repr(value, 80)}: give a regular expression, or a port number"
    raise BadOption(problem, "ready", value)
