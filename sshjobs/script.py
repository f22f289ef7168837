"""The shell script that a command becomes: pure text, no input or output.

Whatever a command asks for (folder, environment, input, sudo), it reaches the other side as one
POSIX shell script.  There are two ways to hand it over:

* *directly*, as the command line, where nothing in it must stay unseen and the login shell is one
  that understands it.  This costs nothing over a bare command.
* *by stdin*: the command line is a constant that reads the script and runs it.  Nothing is seen in
  logs or in ``ps``, any login shell will do, and it tells which one there is.

The first command of a connection, where nothing in it must stay unseen, goes as a line that is one
of these or the other, as the shell has it (see :func:`_asking`).

The script makes the command the leader of its process group, which is what sshd (and LocalNode)
made of the shell.  Since its standard input is not the channel's, that one is free to serve as the
leash: a *watchdog*, a subshell that is nobody's child, waits there for the end of file.  It comes
when the command is over (sshd closes it), when we cut the leash, or when we are gone.  If the
leader lives, the watchdog leaves the group and ends all that is left in it, and in its session:
TERM, two seconds, KILL.  So killing takes no second session, no process id, and no living client.
"""

from __future__ import annotations

import io
import re
import secrets
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field

from .secret import Secret

KILL_AFTER = 2.0
"""Seconds between TERM and KILL."""
POSIX_SHELLS = frozenset({"sh", "dash", "bash", "ash", "ksh", "mksh", "zsh"})
"""Login shells that understand a script as a command line."""
CANNOT = 126
"""The status of a command that could not be started, as shells have it."""
FILES = "files"
"""The user's part of the private folder; our own files are beside it."""
LOGIN_SHELL = '"${SHELL:-/bin/sh}"'
_LONGEST_LINE = 100_000
"""Linux takes arguments of 128 KiB at most."""
_LONGEST_READ = 10_000
"""What is longer goes in a file: a shell reads its input byte by byte."""
_LONGEST_WORD = 400
"""The csh of BSD takes no more than 1,023 bytes, and quoting makes it longer."""
_SPECIAL_OR_NOT = re.compile(r"['!\\]|[^'!\\]+")

# $1 is the group, $2 a folder to remove.  In a session of its own the killer sees by `kill -0` when
# nobody is left; where there is no setsid it stays in the group, and ends itself in the end.
# Zombies do not count, where `ps` can tell: some machines are slow to bury them.  It looks rarely,
# as there may be many like it; where `sleep` knows whole seconds only it looks once.  TERM goes to
# each once, and wakes who is stopped.  KILL is repeated: while `pkill` goes through the session,
# others may be forked.  A server that made us no leader (dropbear) leaves us the first process and
# its children.
_LOOKS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.65)
_KILLER = (
    'trap "" HUP INT TERM;g=$1;d=$2;'
    "s(){ pkill -$1 -s $g||kill -$1 -$g||{ pkill -$1 -P $g;kill -$1 $g;};};"
    'a(){ x=$(ps -o stat= -s $g);[ "$x" ]||{ kill -0 -$g||kill -0 $g;return;};'
    "for x in $x;do case $x in Z*);;*)return 0;;esac;done;return 1;};"
    f"s TERM;kill -CONT -$g;for t in {' '.join(map(str, _LOOKS))};do "
    f"sleep $t||{{ sleep {KILL_AFTER:g};break;}};"
    'a||break;done;rm -rf "$d";'
    "for t in 0 0.05 0.1 0.2;do a||break;s KILL;kill -KILL -$g;sleep $t;done;"
    'rm -rf "$d"'
)
# All on one line, so that the shell counts the lines of the command as the user does.  Who looks at
# the processes over there is to see where it comes from.  Who has a folder to remove holds the
# error output meanwhile: the session stays open, and the command is not over before it is gone.
_WATCHDOG = (
    ": orchestrion; exec 3<&0 <{stdin}; "
    '({{ trap "" HUP INT TERM; read -r x; if kill -0 $$; then exec </dev/null; k={killer}; '
    'set -- sh -c "$k" sh {group} {folder}; command -v setsid && exec setsid "$@"; exec "$@"; fi; '
    "{clean}}} <&3 {hold} >/dev/null 2>&1 &); "
    "exec 3<&-; "
)
# Variables of ours have names that nobody exports: the command would see them.
_UNPACK = """\
_d=$(umask 077; mktemp -d) || exit {cannot}
head -c {size} | tar -x -f - -C "$_d" || {{ rm -rf "$_d"; exit {cannot}; }}
"""
# Where the folder for temporary files is not one for programs (noexec), home will do.
_MOVE = """\
[ -x "$_d"/{program} ] || {{ _e=$(umask 077; mktemp -d ~/tmp.XXXXXXXXXX) && mv "$_d"/* "$_e" && \
rmdir "$_d" && _d=$_e; }}
"""
# The lines before the first mark are not ours; in the end the script takes over.
_READER = (
    '_n=$(printf "\\n.");_n=${{_n%.}};_s=;_b=;while IFS= read -r _l;do case $_b$_l in '
    '{mark}-begin)_b={mark}+;;{mark}+{mark}-end)eval "$_s";exit;;{mark}+*)_s=$_s$_l$_n;;esac;done;'
    "exit 255"
)
# These are the same to csh and to fish, as the latter has the second for one backslash and the
# former the first for two; to all who understand a script they are not.
_IS_FOREIGN = r"""test "\\" = '\\'"""


@dataclass(frozen=True, slots=True)
class Private:
    """The path of a file of the private folder, as a word of an argument vector."""

    name: str


Word = str | Secret | Private


@dataclass(frozen=True, slots=True)
class Launch:
    """A command with all its values known; what may be secret is not in its repr.

    Attributes:
        words: an argument vector, or a shell line.
        cwd: the folder to run it in.
        env: variables to add.
        input: what it reads from its standard input, which is empty otherwise.
        files: private files, by name, in a folder of their own that is gone afterwards.
        sudo: whether to run it as root, or the password to do so.
        pty: whether to give it a terminal.
        hidden: more secrets, such as the input, that must not be shown.
    """

    words: str | tuple[Word, ...]
    cwd: str | None = None
    env: Mapping[str, str | Secret] = field(default_factory=dict)
    input: bytes | None = field(default=None, repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    sudo: bool | Secret = False
    pty: bool = False
    hidden: tuple[Secret, ...] = ()

    @property
    def is_discreet(self) -> bool:
        """Whether something in it must not be on a command line."""
        return bool(self.env or self.files or self.sudo or self.secrets)

    def needs_staging(self, shell: str | None) -> bool:
        """Whether it has to be put into a private folder first; see :func:`stage`.

        Args:
            shell: the login shell; None: not known yet.
        """
        is_plain = isinstance(self.words, str) and self.cwd is None
        return self.pty and (self.is_discreet or not (is_plain or _understands(shell)))

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """All the secrets in it."""
        words = () if isinstance(self.words, str) else self.words
        values = (*words, *self.env.values(), self.sudo, *self.hidden)
        return tuple(value for value in values if isinstance(value, Secret))


@dataclass(frozen=True, slots=True)
class Way:
    """How a script is handed over.

    Attributes:
        command: the command line.
        stdin: what to write to its standard input at once; to a terminal, as if it were typed.
        mark: the first line on standard output that begins so is not the command's: it tells the
            login shell.  None: there is no such line.
        script: what to write to its standard input once such a line says ``?``; another one, that
            tells the shell, comes later.
    """

    command: str
    stdin: bytes = field(default=b"", repr=False)
    mark: str | None = None
    script: bytes = field(default=b"", repr=False)


def way(launch: Launch, shell: str | None, *, line_shell: str = LOGIN_SHELL) -> Way:
    """Return how to run `launch`, which does not need staging.

    Args:
        launch: the command.
        shell: the login shell; None: not known yet.
        line_shell: what runs shell lines, where it is not the login shell itself; an expression.
    """
    if launch.pty:
        # The terminal's hang-up does the work of the watchdog, which would take its input away.
        return Way(_folder(launch) + _body(launch.words, None), launch.input or b"")
    if launch.is_discreet or launch.input is not None:
        return _by_stdin(launch, line_shell)
    text = _WATCHDOG_PLAIN + _folder(launch) + _body(launch.words, None)
    if shell is None:
        return _asking(text, _by_stdin(launch, line_shell))
    if _understands(shell) and len(text) < _LONGEST_LINE and _is_encodable(text):
        return Way(text)
    return _by_stdin(launch, line_shell)


def stage(launch: Launch, *, line_shell: str = LOGIN_SHELL) -> Launch:
    """Return the command that puts `launch` into a private folder, and prints its name.

    For a command on a terminal: what is to stay unseen can neither be on its command line nor be
    typed.  :func:`from_stage` tells how to run it then.  Whoever stages it removes the folder, once
    it is over: the hang-up of the terminal ends whoever could do it over there.
    """
    files = _files(launch, _rest(launch, line_shell))
    start = _sudo(launch) if launch.sudo else _rest(launch, line_shell)
    # What needs no other file removes this one at once: the shell has it open.
    remove = "" if files else 'rm -rf "$_d"\n'
    files["start"] = _encode(f"_d=${{0%/*}}\n{remove}{start}")
    unpack = '_d=$(umask 077; mktemp -d) && tar -x -f - -C "$_d" || exit\n'
    lines = f'{unpack}{_move(files)}printf %s "$_d"'
    return Launch(("sh", "-c", lines), input=_archive(files))


def from_stage(launch: Launch, folder: str) -> Way:
    """Return how to run what was put into `folder`."""
    return Way(f"exec sh {shlex.quote(folder)}/start", launch.input or b"")


def _asking(text: str, by_stdin: Way) -> Way:
    """Return the way that is direct if the login shell understands `text`, else is `by_stdin`.

    Two more shells, and a script that one of them reads byte by byte, are more work for a server
    than all the rest of a short command.
    """
    # A restricted shell (rbash) would run the command, and not its watchdog.
    tell = f'case $- in *r*) exit {CANNOT};; esac; echo "{by_stdin.mark} $SHELL"; '
    words = _words_for_eval(tell + text.removesuffix("\n"))
    if words is None:
        return by_stdin
    reading = _reading(f'echo "{by_stdin.mark} ?"; ', by_stdin.mark)
    return Way(
        f"{_IS_FOREIGN} && {reading}; eval {words}", mark=by_stdin.mark, script=by_stdin.stdin
    )


def _reading(before: str, mark: str | None) -> str:
    return f"exec /bin/sh -c {_for_any_shell(before + _READER.format(mark=mark))}"


def _words_for_eval(text: str) -> str | None:
    """Return `text` as words for `eval`, which joins them; None if any shell might stumble."""
    if not (text.isascii() and text.isprintable() and len(text) < _LONGEST_READ):
        return None
    words = []
    while len(text) > _LONGEST_WORD:
        cut = text.rfind(" ", 0, _LONGEST_WORD)
        if cut < 0:
            return None
        words.append(_for_any_shell(text[:cut]))
        text = text[cut + 1 :]
    return " ".join([*words, _for_any_shell(text)])


def _for_any_shell(word: str) -> str:
    """Quote one line for shells of all kinds, csh and fish too."""
    return _SPECIAL_OR_NOT.sub(_escaped, word) or "''"


def _escaped(found: re.Match[str]) -> str:
    return f"\\{found[0]}" if found[0] in "'!\\" else f"'{found[0]}'"


def _understands(shell: str | None) -> bool:
    return shell is not None and shell.rpartition("/")[2] in POSIX_SHELLS


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of a file name that is not UTF-8
        return False
    return True


def _watchdog(
    group: str = "$$", stdin: str = "/dev/null", folder: str = "", *, hold: bool = False
) -> str:
    return _WATCHDOG.format(
        stdin=stdin,
        killer=shlex.quote(_KILLER),
        group=group,
        folder=folder,
        clean=f"rm -rf {folder}; " if folder else "",
        hold="3>&2" if hold else "3<&-",
    )


_WATCHDOG_PLAIN = _watchdog()


def _folder(launch: Launch) -> str:
    if launch.cwd is None:
        return ""
    # Shells know a folder "-" of their own, some "+1" as well.
    folder = f"./{launch.cwd}" if launch.cwd[:1] in ("-", "+") else launch.cwd
    return f"CDPATH= cd -- {shlex.quote(folder)} || exit {CANNOT}; "


def _body(words: str | tuple[Word, ...], shell: str | None) -> str:
    """Return the last lines: those that become the command.

    A shell line is run by the shell that runs the script, or by `shell`, an expression.  $1 is the
    private folder.
    """
    if isinstance(words, str):
        if shell is None:
            return f"{words}\n"
        # Debian's bash reads ~/.bashrc at the first level under sshd, and it has done so already.
        return f"SHLVL=1 exec {shell} -c {shlex.quote(words)}\n"
    return f"exec {' '.join(_quoted(word) for word in words)}\n"


def _quoted(word: Word) -> str:
    if isinstance(word, Private):
        return f'"$1"/{FILES}/{shlex.quote(word.name)}'
    return shlex.quote(word.reveal() if isinstance(word, Secret) else word)


def _rest(launch: Launch, line_shell: str) -> str:
    """Return the part of the script that every way has: environment, folder, command."""
    # What the command's own variables must not change is known before.
    known = f'set -- "$_d" {line_shell}\n'
    exports = "".join(f"export {name}={_quoted(value)}\n" for name, value in launch.env.items())
    return known + exports + _folder(launch) + _body(launch.words, '"$2"')


def _by_stdin(launch: Launch, line_shell: str) -> Way:
    mark = f"orchestrion-{secrets.token_hex(8)}"
    stdin = "/dev/null" if launch.input is None else '"$_d/input"'
    rest = _rest(launch, line_shell)
    files = _files(launch, _watchdog("$1", stdin, '"$_d"') + rest)
    if launch.input is not None:
        files["input"] = launch.input
    if len(rest) > _LONGEST_READ and not launch.sudo:
        files["rest"] = _encode(rest)
        rest = '. "$_d/rest"\n'
    script, blob, folder = f"printf '%s\\n' \"{mark} $SHELL\"\n", b"", ""
    if files:
        blob, folder = _archive(files), '"$_d"'
        script += _UNPACK.format(size=len(blob), cannot=CANNOT) + _move(files)
    if launch.sudo:
        # Both watchdogs wait for the same end of file: ours, and the one that may kill what is
        # root's.  Only ours holds on: sudo may wait until nobody has its outputs open.
        script += _watchdog("$$", "&0", folder, hold=True) + _sudo(launch)
    else:
        script += _watchdog("$$", stdin, folder, hold=bool(files)) + rest
    text = f"{mark}-begin\n{script}{mark}-end\n"
    return Way(_reading("", mark), _encode(text) + blob, mark)


def _files(launch: Launch, inner: str) -> dict[str, bytes]:
    """Return the private files; with sudo, `inner` is the script that it runs."""
    files = {f"{FILES}/{name}": content for name, content in launch.files.items()}
    if launch.sudo:
        files["inner"] = _encode(f"_d=$2\n{inner}")
    if isinstance(launch.sudo, Secret):
        answer = f"printf '%s\\n' {_quoted(launch.sudo)}"
        files["askpass"] = _encode(f"#!/bin/sh\n{answer}\n")
    return files


def _sudo(launch: Launch) -> str:
    """Return the last lines of the script that leads to sudo; $1 is the group, $2 the folder."""
    ask = isinstance(launch.sudo, Secret)
    export = 'export SUDO_ASKPASS="$_d/askpass"\n' if ask else ""
    return f'{export}exec sudo {"-A" if ask else "-n"} -- sh "$_d/inner" $$ "$_d"\n'


def _move(files: Mapping[str, bytes]) -> str:
    """Return the lines that put `files` where programs can be run, if there are any among them."""
    programs = [name for name in files if name == "askpass" or name.startswith(f"{FILES}/")]
    return _MOVE.format(program=shlex.quote(programs[0])) if programs else ""


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _archive(files: Mapping[str, bytes]) -> bytes:
    """Return a tar archive of `files`, all private and executable, with their folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        folder = tarfile.TarInfo(FILES)
        folder.type, folder.mode = tarfile.DIRTYPE, 0o700
        archive.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o700
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
