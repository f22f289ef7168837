"""Commands, over ssh to a stock server and on this machine: what goes over and what comes back."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import BadOption, Engine, Job, run
from sshjobs import (
    Command,
    CommandFailed,
    Completed,
    ConnectionLost,
    LocalNode,
    Push,
    Run,
    RunScript,
    RunString,
    Secret,
    SshError,
    SshJob,
    SshNode,
    SshTimeout,
    TransferFailed,
)
from tests.processes import wait_until
from tests.ssh.conftest import node_of
from tests.sshd import PASSWORD, Sshd, needs_terminals

Node = SshNode | LocalNode


@pytest.fixture(params=["ssh", "local"])
def node(request: pytest.FixtureRequest, server: Sshd) -> Node:
    return node_of(server) if request.param == "ssh" else LocalNode()


def run_on(node: Node, *commands: Command, **options: Any) -> Completed:
    job = SshJob(node, list(commands), **options)
    assert Engine(job).orchestrate(), job.raised_exception()
    result = job.result()
    assert isinstance(result, Completed)
    return result


def failure_of(node: Node, *commands: Command) -> SshError:
    job = SshJob(node, list(commands), critical=False)
    Engine(job).orchestrate()
    error = job.raised_exception()
    assert isinstance(error, SshError)
    return error


def test_a_shell_line(node: Node) -> None:
    done = run_on(node, Run("echo out; echo err >&2; printf '%s' \"$HOME\" | wc -c"))
    assert done.stdout.startswith("out\n")
    assert (done.stderr, done.exit_status, done.exit_signal) == ("err\n", 0, None)
    assert done.argv == "echo out; echo err >&2; printf '%s' \"$HOME\" | wc -c"
    assert 0 < done.duration < 10


@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_an_argument_vector_is_data(node: Node, first: bool) -> None:
    words = ["a b", "", "$(id)", "`id`", "'", '"', "\\n", "-n", "*", "~", "a\nb", "é", "\x7f", "!!"]
    before = [] if first else [Run("true")]
    done = run_on(node, *before, Run(["printf", "<%s>", *words]))
    assert done.stdout == "".join(f"<{word}>" for word in words)
    assert done.argv == ("printf", "<%s>", *words)


def test_bytes_that_are_no_text_go_over_as_they_are(node: Node) -> None:
    name = os.fsdecode(b"caf\xe9")
    done = run_on(node, Run("true"), Run(["printf", "%s", name]))
    assert done.stdout_bytes == b"caf\xe9"
    assert done.stdout == "caf�"


def test_values_of_other_kinds_become_text(node: Node) -> None:
    done = run_on(node, Run(["echo", 1, 2.5, Path("/a/b")], env={"N": 3}))
    assert done.stdout == "1 2.5 /a/b\n"


@pytest.mark.parametrize("repeat", [1, 2], ids=["first", "later"])
def test_exits(node: Node, repeat: int) -> None:
    def ends(command: str | list[str]) -> Completed:
        before = [Run("true")] * (repeat - 1)
        return run_on(node, *before, Run(command, check=False))

    assert ends("exit 3").exit_status == 3
    killed = ends("kill -TERM $$")
    assert (killed.exit_status, killed.exit_signal) == (None, "TERM")
    killed = ends(["sh", "-c", "kill -KILL $$"])
    assert killed.exit_signal == "KILL"
    assert ends(["/nowhere/program"]).exit_status == 127


def test_a_failure_tells_what_and_where(node: Node) -> None:
    error = failure_of(node, Run("echo one; echo two >&2; echo three >&2; exit 4"), Run("echo no"))
    assert isinstance(error, CommandFailed)
    assert error.node == node
    assert error.phase == "command"
    assert error.completed is not None
    assert error.completed.exit_status == 4
    assert str(node) in str(error)
    assert "exit status 4: two | three" in str(error)


def test_the_first_failure_ends_the_job(node: Node) -> None:
    job = SshJob(node, [Run("echo 1"), Run("exit 1", check=False), Run("exit 2"), Run("echo 3")])
    assert not Engine(job).orchestrate()
    assert [done.exit_status for done in job.results] == [0, 1, 2]


def test_what_was_ended_has_a_result_as_well(node: Node) -> None:
    server = SshJob(node, "echo serving; exec sleep 60", forever=True, ready="serving")
    assert Engine(server, SshJob(node, "true", required=server)).orchestrate()
    assert [(done.stdout, done.exit_signal) for done in server.results] == [("serving\n", "TERM")]


def test_allowed_exits(node: Node) -> None:
    assert run_on(node, Run("exit 4", allowed_exits=[4, "TERM"])).exit_status == 4
    assert run_on(node, Run("kill $$", allowed_exits=[4, "SIGTERM"])).exit_signal == "TERM"
    # How a shell tells the signal of its last command.
    assert run_on(node, Run("sh -c 'kill $$'; exit $?", allowed_exits=["TERM"])).exit_status == 143
    assert isinstance(failure_of(node, Run("exit 5", allowed_exits=[4])), CommandFailed)


def test_input(node: Node, tmp_path: Path) -> None:
    data = bytes(range(256)) * 500
    (tmp_path / "file").write_bytes(data)
    for given in (data, tmp_path / "file", lambda: data):
        assert run_on(node, Run(["cat"], input=given)).stdout_bytes == data
    assert run_on(node, Run("read x; echo $x; cat", input="é\nrest")).stdout == "é\nrest"
    assert run_on(node, Run("cat; echo end", input="")).stdout == "end\n"


def test_without_input_there_is_an_end_of_file(node: Node) -> None:
    assert run_on(node, Run("cat; echo end", timeout=30)).stdout == "end\n"


def test_environment(node: Node) -> None:
    strange = "$HOME `id` 'x' \"y\"\n"
    env: dict[str, str | Secret] = {
        "A": "two words",
        "B": strange,
        "C": "",
        "D": Secret("s"),
    }
    done = run_on(node, Run(["sh", "-c", 'printf "<%s>" "$A" "$B" "$C" "$D"'], env=env))
    assert done.stdout == f"<two words><{strange}><><s>"


def test_folder(node: Node, tmp_path: Path) -> None:
    folder = tmp_path / "a 'b"
    folder.mkdir()
    node_can = isinstance(node, LocalNode)
    where = folder if node_can else "/usr/bin"
    assert run_on(node, Run("true"), Run("pwd", cwd=where)).stdout == f"{where}\n"
    assert run_on(node, Run(["pwd"], cwd=where, env={"A": "1"})).stdout == f"{where}\n"
    assert "/nowhere" in str(failure_of(node, Run("pwd", cwd="/nowhere")))


def test_a_folder_that_is_not_there_is_no_status_of_the_command(node: Node) -> None:
    failure_of(node, Run("true", cwd="/nowhere", allowed_exits=[1, 2]))


@pytest.mark.parametrize("name", ["-", "-1", "+1", "a 'b\n", os.fsdecode(b"\xff")])
def test_a_folder_may_be_called_anything(name: str, server: Sshd) -> None:
    for node, where in ((node_of(server), server.home), (LocalNode(), Path())):
        (where / name).mkdir(exist_ok=True)
        (where / name / "here").touch()
        try:
            # A folder that was left is what shells take "-" for.
            assert run_on(node, Run("ls", cwd=name, env={"OLDPWD": "/"})).stdout == "here\n"
        finally:
            shutil.rmtree(where / name)


def test_lines_are_counted_from_the_first(node: Node) -> None:
    """Also once the login shell is known, and gets the line directly."""
    for _ in range(2):
        error = failure_of(node, Run("true"), Run(": first\nno-such-program", cwd="/"))
        assert re.search(r"sh: (line )?2: ", str(error)), error


@pytest.mark.parametrize("name", ["d", "_d", "SHELL", "s", "PATH"])
def test_a_variable_may_be_called_anything(node: Node, name: str) -> None:
    env = {name: "/bin:/usr/bin"}
    assert run_on(node, RunString(f"echo ${name}", env=env)).stdout.split() == env[name].split()
    assert run_on(node, Run(f'echo "${name}"', env=env)).stdout == f"{env[name]}\n"


def test_values_may_be_long_and_have_many_lines(node: Node) -> None:
    value = "line\n" * 20_000
    assert run_on(node, Run('printf %s "$A" | wc -l', env={"A": value})).stdout.strip() == "20000"
    words = ["sh", "-c", 'echo "$#"; printf %s "$2" | wc -l', "sh", *[value] * 10]
    assert run_on(node, Run(words)).stdout.split() == ["10", "20000"]
    assert "Argument list too long" in str(failure_of(node, Run(["echo", "x" * 4_000_000])))


def test_values_may_be_functions_called_when_the_command_starts(node: Node) -> None:
    async def find() -> str:
        return "found"

    found = Job(find)
    job = SshJob(
        node,
        [
            Run(lambda: f"echo {found.result()}"),
            Run(["echo", found.result, lambda: 3], env={"A": found.result}),
            Run(lambda: ["echo", "a  b"]),
        ],
        required=found,
    )
    assert Engine(found, job).orchestrate()
    assert [done.stdout for done in job.results] == ["found\n", "found 3\n", "a  b\n"]


def test_what_a_job_gets_by_a_function_is_checked_too(node: Node) -> None:
    job = SshJob(node, Run(lambda: "a\0b"), critical=False)
    Engine(job).orchestrate()
    assert isinstance(job.raised_exception(), BadOption)


PATIENCE = (0.5, 5, 30)
"""Seconds for a command to say something: a busy machine may take longer."""


def test_a_command_has_a_bound(node: Node) -> None:
    for seconds in PATIENCE:
        error = failure_of(node, Run("echo on; sleep 60", timeout=seconds))
        assert isinstance(error, SshTimeout)
        assert isinstance(error, TimeoutError)
        assert error.phase == "command"
        assert f"{seconds} s" in str(error)
        assert error.completed is not None
        said = error.completed.stdout
        if said:
            break
    assert said == "on\n"
    assert str(error).endswith(": on")


def test_a_child_that_is_left_behind_does_not_keep_the_job(node: Node) -> None:
    done = run_on(node, Run("sleep 60 & echo $!", timeout=30))
    pid = int(done.stdout)
    assert done.exit_status == 0
    # It was left on purpose, and lives.
    run_on(node, Run(f"kill {pid}"))


def test_wait_in_a_line_waits_for_its_own_children(node: Node) -> None:
    line = "sleep 0.1 & sleep 0.1 & wait; echo over"
    assert run_on(node, Run("true"), Run(line, timeout=30)).stdout == "over\n"


@pytest.mark.parametrize("capture", [None, True, False])
def test_capture(node: Node, capture: bool | None) -> None:
    line = "head -c 3000000 /dev/zero; echo end; echo err >&2"
    done = run_on(node, Run(line, capture=capture))
    size = {None: 1 << 20, True: 3000004, False: 0}[capture]
    assert len(done.stdout_bytes) == size
    assert done.stderr == ("" if capture is False else "err\n")
    assert done.truncated is (capture is not True)
    assert done.stdout.endswith("end\n") is (capture is not False)


def test_capture_in_a_file(node: Node, tmp_path: Path) -> None:
    done = run_on(node, Run("seq 300000; echo err >&2", capture=tmp_path / "out"))
    assert (tmp_path / "out").read_text().splitlines() == [str(n) for n in range(1, 300001)]
    assert done.stdout.endswith("300000\n")
    assert done.stderr == "err\n"


def test_a_file_that_cannot_be_written_is_an_error(node: Node, tmp_path: Path) -> None:
    assert "nowhere" in str(failure_of(node, Run("echo", capture=tmp_path / "nowhere/out")))
    error = failure_of(node, Run("head -c 1000000 /dev/zero; sleep 60", capture="/dev/full"))
    assert "/dev/full: No space left" in str(error)
    assert "/dev/full: No space left" in str(failure_of(node, Run("echo", capture="/dev/full")))


def test_a_file_gets_all_that_came_before_the_end(node: Node, tmp_path: Path) -> None:
    for seconds in PATIENCE:
        command = Run("seq 1000; sleep 60", capture=tmp_path / "out", timeout=seconds)
        assert isinstance(failure_of(node, command), SshTimeout)
        if (said := (tmp_path / "out").read_text()).endswith("\n1000\n"):
            break
    assert len(said.splitlines()) == 1000


def test_a_bad_byte_hurts_nobody(node: Node) -> None:
    jobs = [SshJob(node, "sleep 0.2; echo fine") for _ in range(3)]
    bad = SshJob(node, r"printf 'a\377\nb\303'")
    assert Engine(bad, *jobs).orchestrate()
    assert bad.result().stdout == "a�\nb�"
    assert bad.result().stdout_bytes == b"a\xff\nb\xc3"
    assert {job.result().stdout for job in jobs} == {"fine\n"}


@pytest.fixture
def private_folders(node: Node) -> Iterator[None]:
    """No private folder is left."""
    folders = Path("/tmp")

    def there() -> set[Path]:
        return set(folders.glob("tmp.*/files"))  # but not those of others, which we may not see

    before = there()
    yield
    # Whoever ends a command from outside removes its folder, a moment after we know that it ended.
    wait_until(lambda: there() <= before, 30, "private folders to be removed")


@pytest.mark.usefixtures("private_folders")
def test_a_script_given_as_text(node: Node) -> None:
    text = '#!/bin/sh\necho "$1" "$2"; stat -c %a "$0" "${0%/*}"; cat; exit 3\n'
    done = run_on(node, RunString(text, "a b", "$c", input="in", allowed_exits=[3]))
    assert done.stdout == "a b $c\n700\n700\nin"
    assert done.argv == ("script", "a b", "$c")


@pytest.mark.usefixtures("private_folders")
def test_a_local_script_with_what_it_includes(node: Node, tmp_path: Path) -> None:
    (tmp_path / "lib.sh").write_text("greet() { echo hello $1; }\n")
    (tmp_path / "data [1].bin").write_bytes(bytes(range(256)))
    script = tmp_path / "my script"
    script.write_text('. "$(dirname "$0")/lib.sh"; greet "$1"; wc -c <"${0%/*}/data [1].bin"\n')
    includes = [tmp_path / "lib.sh", tmp_path / "data [1].bin"]
    done = run_on(node, RunScript(script, "you", includes=includes))
    assert done.stdout.split() == ["hello", "you", "256"]
    assert done.argv == ("my script", "you")


@pytest.mark.parametrize("name", ["input", "inner", "start", "askpass", "files", "x" * 150])
def test_a_script_may_have_any_name(node: Node, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("cat; echo end\n")
    script = RunScript(tmp_path / name, input="in ")
    assert run_on(node, script).stdout == "in end\n"


@pytest.mark.usefixtures("private_folders")
def test_a_script_that_fails_leaves_nothing(node: Node) -> None:
    assert isinstance(failure_of(node, RunString("exit 1")), CommandFailed)
    assert isinstance(failure_of(node, RunString("sleep 60", timeout=0.3)), SshTimeout)


def test_a_script_that_is_missing_is_told(node: Node) -> None:
    error = failure_of(node, RunScript("/nowhere/script"))
    assert error.path == "/nowhere/script"
    assert "No such file" in str(error)


def test_a_large_script(node: Node) -> None:
    text = "".join(f": {number:0100d}\n" for number in range(20_000)) + "echo end\n"
    assert run_on(node, RunString(text)).stdout == "end\n"


SUDO = """#!/bin/sh
case $1 in
  -n) test "$SUDO_NEEDS_NONE" || { echo "sudo: a password is required" >&2; exit 1; };;
  -A) test "$($SUDO_ASKPASS)" = "pass 'word" || { echo "sudo: incorrect password" >&2; exit 1; };;
esac
shift 2
SUDO_USER=yes exec "$@"
"""


@pytest.fixture
def sudo(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """A server with a sudo that asks for a password, and makes nobody root."""
    folder = Path(tempfile.mkdtemp(prefix="sudo-"))
    folder.chmod(0o755)
    program = folder / "sudo"
    program.write_text(SUDO)
    program.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    try:
        with Sshd(plain=True, SetEnv=f"PATH={folder}:/usr/bin:/bin") as server:
            yield server
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["ssh", "local"])
def test_sudo(sudo: Sshd, kind: str) -> None:
    node: Node = LocalNode() if kind == "local" else node_of(sudo)
    password = Secret("pass 'word")
    done = run_on(
        node,
        Run("cat; echo $SUDO_USER $A; pwd", sudo=password, env={"A": "b"}, cwd="/", input="x "),
    )
    assert done.stdout == "x yes b\n/\n"
    assert run_on(node, RunString("echo $1", "a b", sudo=password)).stdout == "a b\n"
    assert "incorrect password" in str(failure_of(node, Run("echo", sudo=Secret("no"))))
    assert "password is required" in str(failure_of(node, Run("echo", sudo=True)))
    killed = run_on(node, Run("kill -TERM $$", sudo=password, check=False))
    assert killed.exit_signal == "TERM"


@pytest.mark.parametrize("pty", [False, True])
def test_the_real_sudo(sudoer: SshNode, pty: bool) -> None:
    password = Secret(PASSWORD)
    done = run_on(sudoer, Run(["id", "-un"], pty=pty, sudo=password))
    assert done.stdout.split() == ["root"]
    done = run_on(sudoer, Run("pwd; echo $A", cwd="/", env={"A": "b c"}, pty=pty, sudo=password))
    assert done.stdout.splitlines() == ["/", "b c"]
    refused = failure_of(sudoer, Run("id", pty=pty, sudo=True))
    assert isinstance(refused, CommandFailed)
    assert "a password is required" in str(refused)


@needs_terminals
def test_a_terminal(node: Node) -> None:
    done = run_on(node, Run("test -t 0 && test -t 1 && test -t 2; stty size", pty=True))
    assert done.stdout == "24 80\r\n"
    assert run_on(node, Run(["tty"], pty=True)).stdout.startswith("/dev/")
    done = run_on(node, Run('read x; echo "<$x>"', pty=True, input="typed\n"))
    assert done.stdout.endswith("<typed>\r\n")
    assert run_on(node, Run("exit 3", pty=True, allowed_exits=[3])).exit_status == 3
    long = Run("stty raw -echo; head -c 300000 | wc -c", pty=True, input="x\n" * 150_000)
    assert run_on(node, long, timeout=60).stdout.endswith("300000\n")


@needs_terminals
@pytest.mark.usefixtures("private_folders")
def test_what_is_secret_is_not_typed(node: Node) -> None:
    done = run_on(node, Run('tty; echo "$A"', pty=True, env={"A": Secret("two words")}))
    assert re.fullmatch(r"/dev/\S+\r\ntwo words\r\n", done.stdout)
    assert run_on(node, RunString("tty; echo $1", "x", pty=True)).stdout.endswith("x\r\n")


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: Run(""), "empty"),
        (lambda: Run([]), "empty argument vector"),
        (lambda: Run(3), "argument vector"),  # type: ignore[arg-type]
        (lambda: Run(b"ls"), "argument vector"),
        (lambda: Run("a\0b"), "NUL"),
        (lambda: Run(["a", "b\0"]), "NUL"),
        (lambda: Run(["a", None]), "not a string"),  # type: ignore[list-item]
        (lambda: Run(["a", "\ud800"]), "half a character"),
        (lambda: Run("a \ud800"), "half a character"),
        (lambda: Run("a", input="\ud800"), "half a character"),
        (lambda: Run("a", sudo=Secret("\ud800")), "half a character"),
        (lambda: Run(["-x"]), "./-name"),
        (lambda: Run("a", env={"A-B": "x"}), "no name for a variable"),
        (lambda: Run("a", env={"A": "x\0"}), "NUL"),
        (lambda: Run("a", env=["A"]), "mapping"),  # type: ignore[arg-type]
        (lambda: Run("a", allowed_exits=[256]), "neither a status nor a signal"),
        (lambda: Run("a", allowed_exits=["NOSUCH"]), "neither a status nor a signal"),
        (lambda: Run("a", sudo="canary"), "give True, or a Secret"),  # type: ignore[arg-type]
        (lambda: RunString("", includes=["a/x", "b/x"]), "'x' is there twice"),
        (lambda: RunScript("a/x", includes="b/x"), "'x' is there twice"),
        (lambda: Run("a", timeout=-1), "seconds"),
        (lambda: Run("a", timeout=float("nan")), "seconds"),
        (lambda: Run("a", capture=3), "path of a file"),  # type: ignore[arg-type]
        (lambda: Run("a", timeout="x"), "seconds"),  # type: ignore[arg-type]
        (lambda: Run("a", input=3), "text, bytes"),  # type: ignore[arg-type]
        (lambda: Run("a", cwd=b"/"), "not a string"),  # type: ignore[arg-type]
        (lambda: Run("a", cwd=""), "give a folder"),
        (lambda: Run("a", cwd=Secret("/")), "a Secret would be seen"),
        (lambda: Run("a", label=3), "give text"),  # type: ignore[arg-type]
        (lambda: RunString(None), "not a string"),  # type: ignore[arg-type]
        (lambda: SshNode("a").wait_up(timeout=-1), "seconds"),
    ],
)
def test_nonsense_is_refused_where_it_is_written(make: Any, advice: str) -> None:
    with pytest.raises(BadOption, match=advice):
        make()


def test_a_private_folder_that_cannot_be_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = tmp_path / "rm"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    run_on(LocalNode(), Run("true", pty=True, env={"A": "b"}))
    assert f"localhost: {tmp_path}/tmp." in caplog.text
    assert "left behind: rm: exit status 1" in caplog.text


def test_an_option_that_is_none_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="timout"):
        Run("a", timout=3)  # type: ignore[call-arg]


def test_words_that_are_no_list_are_told_how_to_be_one() -> None:
    with pytest.raises(TypeError, match=r"Run\(\['ls', '-l'\]\)"):
        Run("ls", "-l")  # type: ignore[arg-type]


def test_results_show_themselves_in_one_safe_line() -> None:
    secret = Secret("canary")
    done = Completed(
        ("a", "\x1b[31m"), 0, None, b"canary \x1b]0;x\x07\nrest", b"err", 1.0, True, (secret,)
    )
    assert repr(done) == "<a: exit status 0, stdout='*** \\x1b]0;x\\x07\\nrest', truncated>"
    assert done.stdout.startswith("canary")


@pytest.fixture
def chatty() -> Iterator[Sshd]:
    """A server on which something else talks before any command does."""
    line = "sh -c 'echo hello; echo there >&2; eval \"$SSH_ORIGINAL_COMMAND\"'"
    with Sshd(plain=True, ForceCommand=line) as server:
        yield server


@needs_terminals
def test_what_others_say_first_does_no_harm(chatty: Sshd) -> None:
    node = node_of(chatty)
    done = run_on(node, Run("echo 1"), Run("echo 2"))
    assert (done.stdout, done.stderr) == ("hello\n2\n", "there\n")
    done = run_on(node, Run("tty; echo $A", pty=True, env={"A": "x"}))
    assert done.stdout.endswith("x\r\n")


@needs_terminals
@pytest.mark.parametrize("command", ["true", "echo no; exit 3"])
def test_what_runs_something_else_says_nothing_of_the_command(command: str) -> None:
    with Sshd(plain=True, ForceCommand=command) as server:
        node = node_of(server)
        for options in ({}, {"env": {"A": "b"}}, {"pty": True, "env": {"A": "b"}}):
            error = failure_of(node, Run("echo 1", allowed_exits=[3], check=False, **options))
            assert "something else was run instead of echo 1: exit status" in str(error)
        with pytest.raises(SshTimeout, match=r"not up after 1 s: .*something else"):
            run(up(node))


async def up(node: SshNode) -> None:
    job = node.wait_up(timeout=1)
    try:
        await job.corun()
    finally:
        await job.coshutdown()


def test_a_server_that_gives_no_terminal_is_told() -> None:
    with Sshd(plain=True, PermitTTY="no") as server:
        error = failure_of(node_of(server), Run("tty", pty=True))
        assert str(error).endswith("no session for tty: the server gives no terminal (PermitTTY)")
        assert not isinstance(error, ConnectionLost)


@pytest.mark.usefixtures("private_folders")
def test_nothing_is_left_of_what_is_staged_whenever_it_is_cancelled(node: Node) -> None:
    with node:
        for milliseconds in range(1, 50, 3):
            job = SshJob(node, Run("true", pty=True, env={"A": Secret("b")}))
            Engine(job).orchestrate(timeout=milliseconds / 1000)


def test_what_comes_before_may_be_long() -> None:
    line = "sh -c 'yes | head -c 70000; eval \"$SSH_ORIGINAL_COMMAND\"'"
    with Sshd(plain=True, ForceCommand=line) as server:
        done = run_on(node_of(server), Run("echo 1"))
    assert done.stdout == "y\n" * 35_000 + "1\n"


def test_a_signal_without_a_name() -> None:
    assert run_on(LocalNode(), Run("kill -36 $$", check=False)).exit_signal == "RTMIN+2"


def test_a_server_without_sftp_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with Sshd(plain=True, Subsystem="other /bin/true") as server:
        error = failure_of(node_of(server), Push(tmp_path / "file", "there"))
        assert isinstance(error, TransferFailed)
        assert "sftp" in error.__notes__[0]


def test_a_login_shell_that_understands_no_script_is_given_one_to_read() -> None:
    """To csh and fish two words are the same that are not in a POSIX shell; here, any two."""
    foreign = """bash -c 'test() { return 0; }; eval "$SSH_ORIGINAL_COMMAND"'"""
    with Sshd(plain=True, ForceCommand=foreign) as server:
        lines = [Run("echo noise >&2; echo first; exit 3", check=False), Run("echo second")]
        job = SshJob(node_of(server), lines)
        assert Engine(job).orchestrate()
        assert [done.stdout for done in job.results] == ["first\n", "second\n"]
        assert [done.exit_status for done in job.results] == [3, 0]
        endless = SshJob(node_of(server), "sleep 60; :", timeout=0.5)
        assert not Engine(endless).orchestrate()
        wait_until(lambda: not server.commands(), 30, "the command to end")
