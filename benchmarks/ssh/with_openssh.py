"""The programs of OpenSSH, as in a shell script: ssh, xargs, a control master, scp."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE

from benchmarks.ssh.place import BIG, LINES, Place

SESSIONS = 8
# What the others use too; its own first choice of key exchange takes it many times as long.
KEX = "curve25519-sha256"
CIPHER = "aes128-gcm@openssh.com"


class Case:
    """All cases."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.target = f"{place.username}@{place.host}"
        self.options = [
            *("-F", "none", "-i", place.key),
            *("-o", f"UserKnownHostsFile={place.known_hosts}"),
            *("-o", f"User={place.username}", "-o", f"Port={place.port}", "-o", "BatchMode=yes"),
            *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"),
            *("-o", f"KexAlgorithms={KEX}", "-c", CIPHER),
        ]
        self.ssh = ["ssh", *self.options]

    def hosts(self, many: int, commands: int) -> None:
        """Run commands on many hosts, one after the other on each, over one connection each."""
        line = "echo hello"
        if commands > 1:
            path = Path(self.place.key).parent
            master = f"-o ControlMaster=auto -o ControlPersist=yes -o ControlPath={path}/%h"
            one = " ".join([*self.ssh, master])
            script = f"for n in $(seq {commands}); do {one} $1 {line}; done; {one} -O exit $1"
            self.for_each(many, ["sh", "-ec", script, "sh"])
        else:
            self.for_each(many, ["sh", "-ec", f"exec {' '.join(self.ssh)} $1 {line}", "sh"])

    def behind(self, many: int) -> None:
        """Run a command on many hosts behind a gateway."""
        config = Path(self.place.key).with_name("config")
        common = [
            f"IdentityFile {self.place.key}",
            f"UserKnownHostsFile {self.place.known_hosts}",
            f"User {self.place.username}",
            "BatchMode yes",
            "IdentitiesOnly yes",
            "IdentityAgent none",
            f"KexAlgorithms {KEX}",
            f"Ciphers {CIPHER}",
        ]
        hosts = [f"Port {self.place.port}", "ProxyJump gateway"]
        gateway = ["HostName 127.0.0.1", f"Port {self.place.gateway_port}"]
        config.write_text(
            "\n".join(["Host gateway", *gateway, "Host 127.*", *hosts, "Host *", *common, ""])
        )
        self.for_each(many, ["sh", "-c", f"exec ssh -F {config} $1 echo hello", "sh"])

    def for_each(self, many: int, command: list[str]) -> None:
        """Run a program for many hosts, all at once."""
        hosts = "\n".join(self.place.addresses[:many])
        call = ["xargs", "-P", str(many), "-n", "1", *command]
        subprocess.run(call, input=hosts, text=True, check=True, stdout=DEVNULL, stderr=PIPE)

    def sequence(self, many: int) -> None:
        """Run commands on one host, one after the other."""
        with self.master() as ssh:
            for _ in range(many):
                subprocess.run([*ssh, "echo hello"], check=True, stdout=DEVNULL)

    def concurrent(self, many: int) -> None:
        """Run commands on one host, as many at once as it takes."""
        with self.master() as ssh:
            numbers = "\n".join(map(str, range(many)))
            call = ["xargs", "-P", str(SESSIONS), "-I{}", *ssh, "echo hello {}"]
            subprocess.run(call, input=numbers, text=True, check=True, stdout=DEVNULL)

    @contextmanager
    def master(self) -> Iterator[list[str]]:
        """Give the beginning of a command that uses one connection."""
        path = Path(self.place.key).with_name("master")
        command = [*self.ssh, "-S", str(path)]
        with subprocess.Popen([*command, "-M", "-N", self.target]) as master:
            try:
                while not path.exists():
                    subprocess.run(["sleep", "0.01"], check=True)
                yield [*command, self.target]
            finally:
                master.terminate()

    def put(self) -> None:
        """Put the big file there."""
        self.scp(f"{self.place.here}/big", f"{self.target}:{self.place.target}")

    def get(self) -> None:
        """Get the big file."""
        self.scp(f"{self.target}:{self.place.there}/big", self.place.target)

    def tree(self) -> None:
        """Put the folder of many files there."""
        self.scp("-r", f"{self.place.here}/many", f"{self.target}:{self.place.target}")

    def scp(self, *arguments: str) -> None:
        """Copy."""
        subprocess.run(["scp", "-q", *self.options, *arguments], check=True)

    def lines(self) -> None:
        """Read many lines of output, one by one."""
        call = [*self.ssh, self.target, f"seq {LINES}"]
        done = subprocess.run(
            ["sh", "-c", '"$@" | wc -l', "sh", *call], check=True, stdout=PIPE, text=True
        )
        assert int(done.stdout) == LINES

    def bulk(self) -> None:
        """Read a large output, and keep nothing of it."""
        call = [*self.ssh, self.target, f"head -c {BIG} /dev/zero"]
        subprocess.run(call, check=True, stdout=DEVNULL)
