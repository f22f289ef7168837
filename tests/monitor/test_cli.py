"""``orchestrion run``: any program is run as python runs it, and what its engines do is shown."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from engine import Message, Tick
from monitor.cli import main
from monitor.journal import Journal
from tests.monitor.playing import ROOT, assert_given_back
from tests.processes import wait_until
from tests.terminal import Terminal

PYTHON = [sys.executable, "-W", "error"]
ORCHESTRION = [*PYTHON, "-m", "monitor", "run"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
HEAD = """
import asyncio, sys
from engine import CallJob, Engine, Job, run
from monitor import EngineCurses
async def nap(seconds=0): await asyncio.sleep(seconds)
async def boom(): raise ValueError("boom")
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    return tmp_path / "scenario.py"


def written(path: Path, text: str) -> str:
    path.write_text(HEAD + dedent(text), encoding="utf-8")
    return str(path)


def said(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end."""
    given = {"env": ENVIRONMENT, "text": True, "capture_output": True, "timeout": 60, **options}
    return subprocess.run(words, stdin=subprocess.DEVNULL, check=False, **given)


def orchestrion(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return said(*ORCHESTRION, *words, **options)


def events_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# -- as python does -------------------------------------------------------------------------------

PROBE = """
import atexit, multiprocessing, pickle
from concurrent.futures import ProcessPoolExecutor
from neighbour import name

class Kept:
    pass

def double(number):
    return 2 * number

if __name__ == "__main__":
    print(sorted(set(globals()) - {"nap", "boom"}), __name__, __file__, __package__, __spec__)
    print(sys.argv, sys.path[0], name, __loader__.path)
    print(type(pickle.loads(pickle.dumps(Kept()))) is Kept)
    atexit.register(lambda: print("at exit", Kept))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        doubled = CallJob(double, 21, on=pool)
        Engine(doubled).orchestrate()
    print(doubled.result(), file=sys.stderr)
    sys.exit(3)
"""


def test_the_program_sees_no_difference(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "neighbour.py").write_text("name = __name__")
    written(folder / "scenario.py", PROBE)
    (tmp_path / "link.py").symlink_to(folder / "scenario.py")
    arguments = ["--hosts", "12", "--", "-"]
    expected = said(*PYTHON, "link.py", *arguments, cwd=tmp_path)
    assert expected.returncode == 3
    assert "42" in expected.stderr
    found = orchestrion("--ui", "none", "link.py", "--", *arguments, cwd=tmp_path)
    assert (found.returncode, found.stderr, found.stdout) == (3, expected.stderr, expected.stdout)


@pytest.mark.parametrize(
    "text",
    [
        "def inner(): 1 / 0\ntry: inner()\nexcept ArithmeticError as e: raise OSError(1) from e",
        "x = (1,\n",
        "sys.exit('these are my last words')",
        "raise KeyboardInterrupt",
        "sys.excepthook = lambda *error: print('hook', error[1])\nraise ValueError(7)",
    ],
)
def test_the_errors_of_the_program_look_as_ever(scenario: Path, text: str) -> None:
    path = written(scenario, text)
    expected, found = said(*PYTHON, path), orchestrion(path)
    assert expected.returncode
    assert (found.returncode, found.stderr, found.stdout) == (
        expected.returncode,
        expected.stderr,
        expected.stdout,
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nowhere.py"], "can't open file 'nowhere.py': No such file or directory"),
        (["."], "can't open file '.': Is a directory"),
        (["scenario.py", "--timeout", "nan"], "'nan' is not a number of seconds"),
        (["scenario.py", "--jobs-window", "0"], "'0' is not a number of jobs, 1 or more"),
        (["scenario.py", "--jobs-window", "two"], "'two' is not a number of jobs, 1 or more"),
        (["scenario.py", "--hosts"], "options of the program follow --"),
    ],
)
def test_what_cannot_be_done_is_said(
    words: list[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["orchestrion", "run", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert expected in capsys.readouterr().err


# -- what is shown --------------------------------------------------------------------------------


FIRST_FIVE = ["one", "two", "three", "four", "five"]


def test_every_run_is_shown_once(scenario: Path) -> None:
    path = written(
        scenario,
        """
        import os, threading
        def engine(label, kind=Engine, **options): return kind(Job(nap), label=label, **options)
        print(engine("one").orchestrate(), flush=True)
        print(asyncio.run(engine("two").corun()), run(engine("three").corun()), flush=True)
        run(asyncio.to_thread(int))  # its thread stays, to be used again
        threading.Thread(target=engine("four").orchestrate).start()
        for thread in threading.enumerate()[2:]: thread.join()
        engine("five", EngineCurses, ui="json").orchestrate()
        engine("six", EngineCurses, ui="none").orchestrate()
        if not (child := os.fork()): os._exit(not engine("child").orchestrate())
        assert os.waitpid(child, 0)[1] == 0
        threading.Thread(target=engine("seven").orchestrate).start()
        made = engine("not run, as others are")
        """,
    )
    found = orchestrion(path)
    assert (found.returncode, found.stderr) == (0, "")
    started = re.findall(
        r"^\+\d+s +(\w+) +started|\"label\": \"(five)\"", found.stdout, re.MULTILINE
    )
    assert ["".join(names) for names in started] == [*FIRST_FIVE, "seven"]
    assert found.stdout.index("one: 1 job finished") < found.stdout.index("True\n")
    found = orchestrion(path, "--ui", "json")
    labels = re.findall(r'"RunStarted".*?"label": "(\w+)"', found.stdout)
    assert labels == [*FIRST_FIVE, "six", "seven"]
    assert orchestrion(path, "--ui", "none").stdout == "True\nTrue True\n"


def test_an_engine_that_is_only_made_is_run(scenario: Path, tmp_path: Path) -> None:
    path = written(
        scenario,
        """
        inner = Engine(Job(boom, label="broken"), label="inside")
        lab = Engine(inner, label="lab")
        also = lab
        if len(sys.argv) > 1: spare = Engine(Job(nap), label="spare")
        """,
    )
    found = orchestrion(path)
    assert found.returncode == 1
    assert "lab: FAILED" in found.stdout
    found = orchestrion(path, "--", "another")
    assert (found.returncode, found.stdout) == (2, "")
    assert f"{path} has lab, also, spare: say which" not in found.stderr
    assert f"{path} has lab, spare: say which, as {path}:lab" in found.stderr
    found = orchestrion(f"{path}:spare", "--ascii", "--", "another")
    assert found.returncode == 0
    assert found.stdout.isascii()
    assert "spare: 1 job finished" in found.stdout
    found = orchestrion(f"{path}:nightly")
    assert found.returncode == 2
    assert "has no engine 'nightly'; it has inner, lab, also" in found.stderr


@pytest.mark.parametrize(
    ("text", "name", "status", "told"),
    [
        ("print('nothing')", "", 0, "has run no engine, and has none at its top level"),
        ("lab = Engine(Job(nap)); sys.exit()", "", 0, None),
        ("lab = Engine(Job(nap)); sys.exit()", ":lab", 1, "left by sys.exit(), so lab was not run"),
        ("lab = Engine(Job(boom)); lab.orchestrate()", ":lab", 1, None),
        ("Engine(Job(boom)).orchestrate(); Engine(Job(nap)).orchestrate()", "", 1, None),
        ("lab = Engine(Job(boom)); lab.orchestrate(); sys.exit(0)", "", 0, None),
        (
            "a, b = Job(nap, label='a'), Job(nap); a >> b; lab = Engine(a, b); a.after(b)",
            "",
            1,
            "a -> ",
        ),
    ],
)
def test_exit_status(scenario: Path, text: str, name: str, status: int, told: str | None) -> None:
    found = orchestrion("--ui", "none", written(scenario, text) + name)
    assert found.returncode == status
    assert (told or "") in found.stderr
    assert bool(found.stderr) is bool(told) or "boom" in text
    assert "Traceback" not in found.stderr


# -- options --------------------------------------------------------------------------------------


def test_bounds_and_log(scenario: Path, tmp_path: Path) -> None:
    path = written(
        scenario,
        """
        for label in "one", "two":
            Engine(*(Job(nap, 30 * (label == "two")) for _ in range(5)), label=label).orchestrate()
        Engine(Job(nap), label="three").orchestrate(timeout=90)
        """,
    )
    log = tmp_path / "log"
    log.write_text('{"event": "an older one"}\n')
    found = orchestrion(path, "--timeout", "1", "--jobs-window", "2", "--log", str(log))
    assert found.returncode == 124
    assert "--timeout does not hold for three: its program gives it 90 s" in found.stderr
    older, *events = events_in(log)
    assert older == {"event": "an older one"}
    started = [event for event in events if event["event"] == "RunStarted"]
    assert [event["label"] for event in started] == ["one", "two", "three"]
    assert [event["window"] for event in started] == [2, 2, 2]
    assert [event["timeout"] for event in started] == [1, 1, 90]
    assert [event["ok"] for event in events if event["event"] == "RunEnded"] == [True, False, True]
    for start in started:
        of_run = [event["seq"] for event in events if event["run"] == start["run"]]
        assert of_run == list(range(len(of_run)))


def test_a_log_that_cannot_be_written_is_told_and_harms_nothing(tmp_path: Path) -> None:
    text: list[str] = []
    for path in str(tmp_path / "no" / "where"), "/dev/full":
        journal = Journal(path, text.append)
        for number in range(5):
            journal.put_nowait(Message("r", number, 0.0, 0.0, "INFO", "engine", "text"))
            wait_until(lambda: path != "/dev/full" or len(text) > 1, 30, "the error")
        journal.close()
    assert text == [
        f"--log {tmp_path}/no/where: No such file or directory; nothing is logged",
        "--log /dev/full: No space left on device; the rest is not logged",
    ]


def test_a_log_holds_every_event(tmp_path: Path) -> None:
    path = tmp_path / "log"
    journal = Journal(str(path), pytest.fail)
    for number in range(5000):
        journal.put_nowait(Message("r", number, 0.0, 0.0, "INFO", "engine", "text"))
    journal.close()
    events = [Tick.from_dict(event) for event in events_in(path)]
    assert [event.seq for event in events] == list(range(5000))


# -- endings --------------------------------------------------------------------------------------

STUBBORN = """
import time
async def stubborn():
    while True:
        try: await asyncio.sleep(60)
        except asyncio.CancelledError: pass
engine = Engine(Job(nap, 60, label="nap"), Job(stubborn, label="stubborn"), label="lab")
"""


def test_the_log_is_complete_after_control_c(scenario: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = [*ORCHESTRION, written(scenario, STUBBORN), "--log", str(log)]
    with subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("stubborn  running" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: "RunStopping" in log.read_text(), 30, "the first to take effect")
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == -signal.SIGINT
    assert ": left at once by a second Ctrl-C" in rest
    last = {event["job"]: event for event in events_in(log) if event["event"] == "JobState"}
    assert {event["new"] for event in last.values()} == {"cancelled"}
    assert "second Ctrl-C" in last["2"]["reason"]
    end = events_in(log)[-1]
    assert (end["event"], end["ok"], end["counts"]) == ("RunEnded", False, {"cancelled": 2})


def test_a_reader_that_goes_away_does_not_end_the_run(scenario: Path, tmp_path: Path) -> None:
    path = written(scenario, "Engine(*(Job(nap, i / 50) for i in range(20))).orchestrate()")
    log = tmp_path / "log"
    line = ' "$@" | head -3 >/dev/null; echo ${PIPESTATUS[0]}'
    found = said("bash", "-c", line, "bash", *ORCHESTRION, path, "--log", str(log))
    assert (found.stdout, found.stderr) == ("0\n", "")
    assert events_in(log)[-1]["ok"]


# -- on a terminal --------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [["C-c"], ["C-c", "C-c"]])
def test_control_c_on_the_screen(
    terminal: Terminal, scenario: Path, tmp_path: Path, keys: list[str]
) -> None:
    """The second gives the terminal back at once, even if the program takes its time."""
    end = tmp_path / "end"
    text = f"""{STUBBORN}
engine.cancel_grace = 0.5 if 1 == {len(keys)} else 60
try:
    engine.orchestrate()
finally:
    import pathlib
    while not pathlib.Path({str(end)!r}).exists():
        time.sleep(0.05)
    print("the program ends")
"""
    terminal.start([*ORCHESTRION, written(scenario, text)], cwd=ROOT)
    terminal.wait_for("▶ stubborn")
    assert terminal.alternate_on()
    terminal.send_keys(keys[0])
    if len(keys) > 1:
        terminal.wait_for("stopping")
        terminal.send_keys(keys[1])
    wait_until(lambda: not terminal.alternate_on(), 30, "the main screen")
    end.touch()
    assert terminal.exit_status() == 130
    assert_given_back(terminal)
    left = terminal.screen(history=True)
    assert left.count("the program ends") == left.count("lab: ") == 1
    assert "Traceback" not in left


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_deadly_signal_under_asyncio_run(
    terminal: Terminal, scenario: Path, number: signal.Signals
) -> None:
    """Which does not handle it."""
    path = written(scenario, "asyncio.run(Engine(Job(nap, 60, label='nap'), label='lab').corun())")
    terminal.start([*ORCHESTRION, path], cwd=ROOT)
    terminal.wait_for("▶ nap")
    os.kill(terminal.pid, number)
    assert terminal.exit_status() == 128 + number
    assert_given_back(terminal)
    assert f"nap cancelled: interrupted by {number.name}" in terminal.screen()


def test_control_c_stops_a_run_in_a_thread(terminal: Terminal, scenario: Path) -> None:
    path = written(
        scenario,
        """
        import threading
        threading.Thread(target=Engine(Job(nap, 60, label="nap"), label="lab").orchestrate).start()
        """,
    )
    terminal.start([*ORCHESTRION, path], cwd=ROOT)
    terminal.wait_for("▶ nap")
    terminal.send_keys("C-c")
    assert terminal.exit_status() == 130
    assert_given_back(terminal)
    assert "lab: FAILED" in terminal.screen()


def test_an_example_that_knows_no_monitor_is_shown(terminal: Terminal) -> None:
    example = "examples/duplicates.py"
    terminal.start([*ORCHESTRION, example, "--", "tests"], cwd=ROOT)
    assert terminal.exit_status() == 0
    assert_given_back(terminal)
    assert "duplicates in tests: " in terminal.screen()
