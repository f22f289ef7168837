"""tar here, tar there, ssh between: the fastest way for many files."""

from __future__ import annotations

import subprocess
from shlex import quote

from benchmarks.ssh import with_openssh
from benchmarks.ssh.place import Place


class Case:
    """The one case that it is for."""

    def __init__(self, place: Place) -> None:
        self.openssh = with_openssh.Case(place)
        self.place = place

    def tree(self) -> None:
        """Put the folder of many files there."""
        target = quote(self.place.target)
        pack = f"tar -C {quote(self.place.here)}/many -cf - ."
        unpack = f"mkdir {target} && tar -C {target} -xf -"
        ssh = [*self.openssh.ssh, self.openssh.target, unpack]
        subprocess.run(["sh", "-c", f'{pack} | "$@"', "sh", *ssh], check=True)
