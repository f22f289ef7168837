"""A real terminal: a tmux pane on a server of its own, its screen, its keys and its tty settings.

::

    def test_it(terminal: Terminal) -> None:
        terminal.start([sys.executable, "examples/fleet.py"], columns=80, rows=24)
        terminal.wait_for("6/25 done")
        terminal.resize(40, 10)
        terminal.send_keys("C-c")
        assert terminal.exit_status() == 130
        assert terminal.stty() == terminal.stty_before()
        assert not terminal.alternate_on()

Where there is no tmux the test is skipped and says so.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from engine.testing.patience import looks
from tests.processes import Process, descendants, marked, send, wait_until

TIMEOUT = 30.0
STOP_TIMEOUT = 30.0
# One look at the screen starts a tmux client, a few milliseconds of work.
POLL = 0.05
MARK = "ORCHESTRION_TERMINAL"
# The shell stays behind the command, so the terminal is there to be looked at when the command has
# ended. A trap that does nothing keeps it from dying of the Ctrl-C meant for the command, which
# itself gets the default action.
WRAPPER = """
trap : INT QUIT
stty -a >"$2/before"
eval "$1"
echo $? >"$2/status.new"
mv "$2/status.new" "$2/status"
exec sleep 2147483647
"""
CONFIGURATION = """
set-option -g default-terminal screen-256color
set-option -g escape-time 0
set-option -g history-limit 10000
set-option -g remain-on-exit on
set-option -g status off
"""


class Terminal:
    """One pane of 80x24 (or what `start` is told); ends by pid all that was started in it."""

    def __init__(self) -> None:
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        self._tmux: str | None = None

    def __enter__(self) -> Self:
        self._tmux = shutil.which("tmux")
        if self._tmux is None:
            pytest.skip("tmux is not installed (apt-get install tmux)")
        self._folder = Path(tempfile.mkdtemp(prefix="tmux-"))
        (self._folder / "tmux.conf").write_text(CONFIGURATION)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(
        self,
        command: str | Sequence[str],
        *,
        columns: int = 80,
        rows: int = 24,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Run ``command``, a shell line or an argument vector, in the foreground of a new pane.

        ``env`` is added to this process's environment; TERM is tmux's own and can be changed in
        the command (``env TERM=dumb ...``). For job control start an interactive shell.
        """
        line = command if isinstance(command, str) else shlex.join(command)
        size = ["-x", str(columns), "-y", str(rows)]
        pane = ["sh", "-c", WRAPPER, "sh", line, str(self._folder)]
        self._call("new-session", "-d", *size, *pane, env=self._environment(env), cwd=cwd)
        wait_until((self._folder / "before").exists, TIMEOUT, "the pane to start")

    def stop(self) -> None:
        """End the tmux server and everything that was started in its pane."""
        if (self._folder / "socket").exists():
            self._call("kill-server", check=False)
        send((process.pid for process in marked(self._mark)), signal.SIGKILL)
        wait_until(lambda: not marked(self._mark), STOP_TIMEOUT, "what ran in the pane to end")
        shutil.rmtree(self._folder, ignore_errors=True)

    def hang_up(self) -> None:
        """Close the terminal under the command, as when the window or the link is closed."""
        self._call("kill-server")

    def screen(self, *, escapes: bool = False, history: bool = False) -> str:
        """What the screen shows; with its colours as escape sequences; with its scrollback."""
        flags = ["-e"] * escapes + ["-S", "-"] * history
        return self._call("capture-pane", "-p", *flags)

    def send_keys(self, *keys: str, literal: bool = False) -> None:
        """Press keys, by tmux's names (``"C-c"``, ``"Enter"``, ``"Up"``, ``"q"``), or type text."""
        self._call("send-keys", *["-l"] * literal, "--", *keys)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal; what runs in it gets a SIGWINCH."""
        self._call("resize-window", "-x", str(columns), "-y", str(rows))

    def alternate_on(self) -> bool:
        """Whether the alternate screen is shown."""
        return self.flag("alternate_on")

    def cursor_flag(self) -> bool:
        """Whether the cursor is visible."""
        return self.flag("cursor_flag")

    def flag(self, name: str) -> bool:
        """Any of tmux's flags of a pane, for instance ``mouse_any_flag`` or ``keypad_flag``."""
        return self.value(name) == "1"

    def value(self, name: str) -> str:
        """Any of tmux's format variables, for instance ``cursor_y`` or ``pane_width``."""
        return self._call("display-message", "-p", f"#{{{name}}}").strip()

    @property
    def pane_pid(self) -> int:
        """The shell behind the command."""
        return int(self.value("pane_pid"))

    @property
    def pid(self) -> int:
        """The command; an error once it has ended."""
        below = [process.pid for process in descendants(self.pane_pid) if process.alive]
        if not below or self._status() is not None:
            raise RuntimeError("the command has ended")
        return below[0]

    def left(self) -> list[Process]:
        """What the command started, at any depth, and what still runs; also when it has ended."""
        ours = {self.pane_pid, int(self.value("pid"))}
        return [process for process in marked(self._mark) if process.pid not in ours]

    def stty(self) -> str:
        """The settings of the tty now: ``stty -a`` without the size, which is not a setting."""
        tty = self.value("pane_tty")
        return _settings(subprocess.check_output(["stty", "-a", "-F", tty], text=True))

    def stty_before(self) -> str:
        """The same, as it was before the command started."""
        return _settings((self._folder / "before").read_text())

    def wait_for(
        self,
        what: str | re.Pattern[str] | Callable[[str], object],
        timeout: float = TIMEOUT,
        *,
        history: bool = False,
    ) -> str:
        """The first screen that holds a text, matches a pattern, or pleases a function.

        With ``history`` its scrollback counts too: for lines that others push off the screen.

        Raises:
            TimeoutError: it did not come; the message shows the last screen.
        """
        accepts = _acceptor(what)
        screen = ""
        for _ in looks(timeout, POLL):
            screen = self.screen(history=history)
            if accepts(screen):
                return screen
        raise TimeoutError(f"after {timeout:g} s no {what!r} on the screen:\n{screen}")

    def exit_status(self, timeout: float = TIMEOUT) -> int:
        """Wait for the command's end; its status as the shell tells it (130 for SIGINT).

        Raises:
            TimeoutError: it still runs; the message shows the screen.
        """
        try:
            wait_until(lambda: self._status() is not None, timeout, "the command to end")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the screen:\n{self.screen()}") from None
        status = self._status()
        assert status is not None
        return status

    def _status(self) -> int | None:
        path = self._folder / "status"
        return int(path.read_text()) if path.exists() else None

    def _environment(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        environment = {"LC_ALL": "C.UTF-8", **os.environ, **(extra or {})}
        environment.pop("TMUX", None)
        name, _, value = self._mark.partition("=")
        environment[name] = value
        return environment

    def _call(
        self,
        *words: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        check: bool = True,
    ) -> str:
        assert self._tmux is not None, "use `with Terminal() as terminal:`"
        server = ["-S", str(self._folder / "socket"), "-f", str(self._folder / "tmux.conf")]
        return subprocess.run(
            [self._tmux, "-u", *server, *words],
            check=check,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        ).stdout


def _settings(stty: str) -> str:
    return re.sub(r"rows \d+; columns \d+; ", "", stty)


def _acceptor(what: str | re.Pattern[str] | Callable[[str], object]) -> Callable[[str], object]:
    if isinstance(what, str):
        return lambda screen: what in screen
    return what.search if isinstance(what, re.Pattern) else what
