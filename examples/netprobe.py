"""How fast is the way to another machine: a probe in one file, for any Python 3.

It is what `fleet.py` pushes to its nodes, and works by hand as well::

    python3 netprobe.py serve --port-file serve.port
    python3 netprobe.py measure 127.0.0.1 41234 --out result.jsonl
    python3 netprobe.py udp 127.0.0.1 41234
"""

from __future__ import annotations

import argparse
import json
import socket
import socketserver
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

PING = b"ping\n"
BLOCK = bytes(1 << 16)
BLOCKS = 256
TRIPS = 25
PAUSE = 0.02  # seconds between two round trips: the way is to be idle
TIMEOUT = 10.0


class Echo(socketserver.StreamRequestHandler):
    """Answers each ping at once, and each block once it is all there, with a ping."""

    def handle(self) -> None:
        """Serve one client until it hangs up."""
        print("client from port", self.client_address[1], flush=True)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while line := self.rfile.readline():
            self.rfile.read(int(line) if line != PING else 0)
            self.wfile.write(PING)


class Server(socketserver.ThreadingTCPServer):
    """Each client has a thread, none of which outlives the server."""

    daemon_threads = True


def serve(port_file: Path) -> None:
    """Answer on a port that the system chooses; the file, then the output, say which."""
    with Server(("127.0.0.1", 0), Echo) as server:
        port = server.server_address[1]
        port_file.write_text(f"{port}\n")
        print("listening on port", port, flush=True)
        server.serve_forever()


def measure(host: str, port: int, out: Path) -> None:
    """Take the time of small round trips, then of a large transfer; add a line to a file."""
    with socket.create_connection((host, port), timeout=TIMEOUT) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        trips = []
        for _ in range(TRIPS):
            time.sleep(PAUSE)
            trips.append(1e6 * exchange(link, PING))
        seconds = sum(exchange(link, b"%d\n%b" % (len(BLOCK), BLOCK)) for _ in range(BLOCKS))
    rate = BLOCKS * len(BLOCK) / seconds / 1e6
    print(f"{statistics.median(trips):.0f} us there and back, {rate:.0f} MB/s", flush=True)
    with out.open("a") as file:
        file.write(json.dumps({"trips_us": [round(trip) for trip in trips], "rate": rate}) + "\n")


def exchange(link: socket.socket, message: bytes) -> float:
    """Send a message, wait for the answer, return the seconds it took."""
    start = time.perf_counter()
    link.sendall(message)
    if link.recv(len(PING)) != PING:
        raise ConnectionError("the server went away")
    return time.perf_counter() - start


def udp(host: str, port: int) -> None:
    """Ask the same question by UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(1)
        link.connect((host, port))
        try:
            link.send(PING)
            link.recv(len(PING))
        except OSError as error:
            sys.exit(f"no answer by UDP: {error}")


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description="How fast is the way to another machine.")
    what = parser.add_subparsers(dest="what", required=True)
    serving = what.add_parser("serve", help="answer those who measure")
    serving.add_argument("--port-file", type=Path, required=True)
    measuring = what.add_parser("measure", help="measure the way to a server")
    measuring.add_argument("--out", type=Path, required=True, help="where to add the result")
    asking = what.add_parser("udp", help="ask a server by UDP")
    for parser_of_client in (measuring, asking):
        parser_of_client.add_argument("host")
        parser_of_client.add_argument("port", type=int)
    options = vars(parser.parse_args())
    commands: dict[str, Callable[..., None]] = {"serve": serve, "measure": measure, "udp": udp}
    commands[options.pop("what")](**options)


if __name__ == "__main__":
    main()
