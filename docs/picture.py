"""Draw docs/monitor.svg: what the monitor shows in the middle of the demo, from a real screen.

``make picture`` runs it.  The demo runs in tmux, on a terminal of 80x24; ``w`` is pressed on its
last job, to see why it waits, and once a measurement is half way the screen is read, with its
colours, and drawn.

Fonts differ from one machine to the next, and a line made of characters has gaps where the font of
the reader is not that of the author.  So lines, blocks and shades are drawn as shapes that fill
their cells, and text is stretched to the cells that it takes.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "monitor.svg"
DEMO = ["env", "-u", "NO_COLOR", "-u", "ORCHESTRION_ASCII", sys.executable, "examples/fleet.py"]
KEYS = ["End", "Up", "w"]
"""The last row tells how many are done; above it is the job that waits for all others."""
MOMENT = re.compile(r"measure node\d +│ █+░+ +50%.*\? help", re.DOTALL)
"""A measurement is half way, and the last line tells the keys: there is no news to tell there."""
SOON = 60.0
"""Seconds within which the demo comes to that moment, also on a slow machine."""

COLUMNS, ROWS = 80, 24
WIDE, HIGH = 9.0, 19.0
"""Size of a cell."""
SIZE = 15
"""Of the font; its characters are about as wide as a cell."""
BASE = 14.0
"""From the top of a cell to the line that its text stands on."""
MARGIN = 14

BACK = "#11151c"
PLAIN = "#d7dce4"
FAINT = "#7d8794"
COLOURS = {
    31: "#ff7b72",
    32: "#5fc77a",
    33: "#d9a94a",
    35: "#c792ea",
    36: "#56c2d6",
}
"""By their numbers in escape sequences: red, green, brown, magenta, cyan."""
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

UP, DOWN, LEFT, RIGHT = "udlr"
LINES = {
    "─": LEFT + RIGHT,
    "│": UP + DOWN,
    "┌": DOWN + RIGHT,
    "┐": DOWN + LEFT,
    "└": UP + RIGHT,
    "┘": UP + LEFT,
    "├": UP + DOWN + RIGHT,
    "┤": UP + DOWN + LEFT,
    "┬": DOWN + LEFT + RIGHT,
    "┴": UP + LEFT + RIGHT,
    "┼": UP + DOWN + LEFT + RIGHT,
    "┃": UP + DOWN,
}
"""To which sides of its cell a line goes from the middle."""
THICK = {"┃": 4.0}
BLOCKS = {"█": 1.0, "░": 0.35}
"""How opaque a filled cell is."""
GAP = 1.5
"""Above and below a block, so that bars one below the other are seen to be two."""
LAST_ASCII = "\x7f"


@dataclass(frozen=True, slots=True)
class Look:
    """What escape sequences have made of the text that follows them."""

    colour: int | None = None
    bold: bool = False
    faint: bool = False
    reverse: bool = False

    def after(self, code: int) -> Look:
        """Return the look after one number of a sequence that sets it (SGR)."""
        match code:
            case 0:
                return Look()
            case 1:
                return replace(self, bold=True)
            case 2:
                return replace(self, faint=True)
            case 7:
                return replace(self, reverse=True)
            case 22:
                return replace(self, bold=False, faint=False)
            case 27:
                return replace(self, reverse=False)
            case 39:
                return replace(self, colour=None)
            case 49:
                return self
        if code not in COLOURS:
            raise ValueError(f"the screen has a look that this script does not know: {code}")
        return replace(self, colour=code)

    @property
    def ink(self) -> str:
        """The colour of the text, or of its ground if it is reversed."""
        if self.colour is not None:
            return COLOURS[self.colour]
        return FAINT if self.faint else PLAIN


@dataclass(frozen=True, slots=True)
class Cell:
    """One character on the screen."""

    column: int
    text: str
    look: Look


def main() -> None:
    """Run the demo, and draw it."""
    if shutil.which("tmux") is None:
        sys.exit("the picture needs tmux")
    with Terminal() as terminal:
        terminal.start(DEMO, columns=COLUMNS, rows=ROWS, cwd=ROOT)
        try:
            terminal.wait_for("1 FAIL", SOON)
            terminal.send_keys(*KEYS)
            terminal.wait_for(MOMENT, SOON)
            screen = terminal.screen(escapes=True)
        finally:
            # The demo closes what it has opened, its servers too; then nothing is left to kill.
            terminal.send_keys("C-c")
            terminal.exit_status()
    TARGET.write_text(picture(screen.splitlines()), encoding="utf-8")
    sys.stdout.write(f"drawn: {TARGET.relative_to(ROOT)}\n")


def picture(screen: list[str]) -> str:
    """Return an SVG of a screen, given as lines with escape sequences."""
    width, height = COLUMNS * WIDE + 2 * MARGIN, ROWS * HIGH + 2 * MARGIN
    size = f'width="{width:g}" height="{height:g}"'
    shapes = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" {size}>',
        "<title>The monitor in the middle of the demo</title>",
        f'<rect {size} rx="8" fill="{BACK}"/>',
        f'<g transform="translate({MARGIN} {MARGIN})" font-family="{FONT}" font-size="{SIZE}">',
    ]
    look = Look()
    for row, line in enumerate(screen[:ROWS]):
        drawn = list(cells(line, look))
        look = drawn[-1].look
        shapes += draw(drawn, row * HIGH)
    return "\n".join([*shapes, "</g>", "</svg>", ""])


def cells(line: str, look: Look) -> Iterator[Cell]:
    """Give the characters of a line, each with its place and look; `look` is that of the start."""
    column = 0
    for sequence, character in re.findall(r"\x1b\[([\d;]*)m|([^\x1b])", line):
        if character:
            yield Cell(column, character, look)
            column += 1
        else:
            for code in sequence.split(";"):
                look = look.after(int(code or 0))


def draw(line: list[Cell], top: float) -> Iterator[str]:
    """Give the shapes of one line: grounds, then lines and blocks, then text."""
    for look, group in groupby(line, key=lambda cell: cell.look):
        if look.reverse:
            run = list(group)
            yield _rect(run, top, f'fill="{look.ink}"')
    for (kind, look), group in groupby(line, key=lambda cell: (_kind(cell.text), cell.look)):
        run = list(group)
        if kind in BLOCKS:
            yield _rect(run, top, f'fill="{look.ink}" opacity="{BLOCKS[kind]}"', GAP)
        elif kind in LINES:
            yield _lines(run, top)
        elif kind != " ":
            yield _text(run, top)


def _kind(character: str) -> str:
    """Return what is drawn together: the same shape, or text; other signs are drawn one by one."""
    if character in LINES or character in BLOCKS or character == " " or character > LAST_ASCII:
        return character
    return "text"


def _rect(run: list[Cell], top: float, look: str, gap: float = 0.0) -> str:
    return (
        f'<rect x="{run[0].column * WIDE:g}" y="{top + gap:g}" width="{len(run) * WIDE:g}" '
        f'height="{HIGH - 2 * gap:g}" {look}/>'
    )


def _lines(run: list[Cell], top: float) -> str:
    """Return the lines of cells of one kind, as one path."""
    sides, middle = LINES[run[0].text], top + HIGH / 2
    left, right = run[0].column * WIDE, (run[-1].column + 1) * WIDE
    path = []
    if LEFT in sides or RIGHT in sides:
        start = left if LEFT in sides else left + WIDE / 2
        end = right if RIGHT in sides else right - WIDE / 2
        path.append(f"M{start:g} {middle:g}H{end:g}")
    if UP in sides or DOWN in sides:
        start = top if UP in sides else middle
        end = top + HIGH if DOWN in sides else middle
        path += [f"M{(cell.column + 0.5) * WIDE:g} {start:g}V{end:g}" for cell in run]
    ink, width = run[0].look.ink, THICK.get(run[0].text, 1.0)
    return f'<path d="{"".join(path)}" stroke="{ink}" stroke-width="{width:g}" fill="none"/>'


def _text(run: list[Cell], top: float) -> str:
    text, look = "".join(cell.text for cell in run), run[0].look
    weight = ' font-weight="bold"' if look.bold else ""
    ink = BACK if look.reverse else look.ink
    place = f'y="{top + BASE:g}" fill="{ink}"{weight}'
    if text > LAST_ASCII:  # from another font, perhaps: in the middle of its cell
        middle = (run[0].column + 0.5) * WIDE
        return f'<text x="{middle:g}" text-anchor="middle" {place}>{escape(text)}</text>'
    return (
        f'<text x="{run[0].column * WIDE:g}" textLength="{len(run) * WIDE:g}" '
        f'lengthAdjust="spacingAndGlyphs" {place}>{escape(text)}</text>'
    )


if __name__ == "__main__":
    main()
