"""How fast is the network between these machines?  Six nodes behind a gateway find out.

``make demo`` runs it.  Nothing is faked: the nodes are ssh servers on loopback, in a thread of this
program, and all that they do are real commands.  For machines of your own, replace the fleet by
``SshNode.many("fit[01-06]", username="root", gateway="gw.lab")``, and 127.0.0.1 by the first one's
name.

The story: each node is looked at and gets a probe.  The first one serves, the others measure the
way to it, two at a time.  What they found is brought back here and becomes a table.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from engine import CallJob, Engine, Pool, report
from monitor import EngineCurses
from sshjobs import Argument, Completed, Pull, Push, Run, Session, SshJob, SshNode
from sshjobs.sandbox import Fleet

PROBE = Path(__file__).with_name("netprobe.py")
ROUNDS = 10


def main() -> int:
    """Run the experiment on six nodes; return its exit status."""
    with Fleet(6) as fleet, TemporaryDirectory() as results:
        engine = experiment(fleet.nodes, Path(results))
        # After Ctrl-C everything is closed as usual, then Python is told; the exit status says it.
        with suppress(KeyboardInterrupt):
            engine.orchestrate()
    return engine.exit_status


def experiment(nodes: list[SshNode], results: Path) -> Engine:
    """Return all that is to be done, each job with what it requires."""
    engine = EngineCurses(label="how fast is the network?")
    server, *clients = nodes

    # A list of commands, here as a shell line, or one command: a job is what is done on one node.
    # All jobs of a node share one connection, and all connections the one to the gateway.
    pushed = {}
    for node in nodes:
        look = SshJob(
            node, "uname -sr && python3 --version", label=f"inspect {node.hostname}", engine=engine
        )
        pushed[node] = SshJob(
            node,
            Push(PROBE, "netprobe.py"),
            required=look,
            label=f"push {node.hostname}",
            engine=engine,
        )

    # The server never ends by itself: it is stopped when all other jobs are over.  Those that
    # require it start once it is ready, which it is when its output says so.
    serve = SshJob(
        server,
        Run(["python3", "netprobe.py", "serve", "--port-file", "server.port"]),
        forever=True,
        ready="listening on port",
        required=pushed[server],
        label=f"serve {server.hostname}",
        engine=engine,
    )
    asked = SshJob(server, "cat server.port", required=serve, label="ask port", engine=engine)

    # One job's output feeds others: a word of a command can be a function, which is called when the
    # command starts.
    def port() -> str:
        return asked.result().stdout.strip()

    # The measurements would disturb each other, so there are never more than two at once.
    pairs = Pool(2, label="two at a time")
    pulled = []
    for node in clients:
        probe: list[Argument] = [
            "python3",
            "netprobe.py",
            "measure",
            "127.0.0.1",
            port,
            "--out",
            "found.jsonl",
        ]
        measured = SshJob(
            node,
            [Round(probe, number) for number in range(1, ROUNDS + 1)],
            required=[pushed[node], asked],
            pool=pairs,
            timeout=60,
            label=f"measure {node.hostname}",
            engine=engine,
        )
        pulled.append(
            SshJob(
                node,
                Pull("found.jsonl", results / f"{node.hostname}.jsonl"),
                required=measured,
                label=f"pull {node.hostname}",
                engine=engine,
            )
        )

    # The server does not speak UDP, so this one fails.  As it is not critical, nothing else does.
    SshJob(
        clients[-1],
        Run(["python3", "netprobe.py", "udp", "127.0.0.1", port]),
        required=[pushed[clients[-1]], asked],
        critical=False,
        label="try udp",
        engine=engine,
    )

    # Jobs need not have to do with ssh: this one is a function of ours, called in a thread.
    CallJob(print_table, results, required=pulled, label="table", engine=engine)
    return engine


class Round(Run):
    """One round of a measurement: a command that, once over, moves the bar of its job."""

    def __init__(self, words: Iterable[Argument], number: int) -> None:
        super().__init__(words, label=f"round {number} of {ROUNDS}")
        self.number = number

    async def run_on(self, session: Session) -> Completed:
        """Run the command on the node, and tell how far the job is."""
        completed = await super().run_on(session)
        report(done=self.number, total=ROUNDS)
        return completed


def print_table(results: Path) -> None:
    """Read what was found, and print a line for each node."""
    print(f"{'node':8}{'round trips':>12}{'median':>12}{'worst':>12}{'transfer':>12}")
    for file in sorted(results.iterdir()):
        rounds = [json.loads(line) for line in file.read_text().splitlines()]
        trips = [trip for found in rounds for trip in found["trips_us"]]
        rate = statistics.median(found["rate"] for found in rounds)
        print(
            f"{file.stem:8}{len(trips):12}{statistics.median(trips):9.0f} us{max(trips):9} us"
            f"{rate:7.0f} MB/s"
        )


if __name__ == "__main__":
    sys.exit(main())
