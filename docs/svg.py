"""Screens of a terminal, drawn as SVG.

Fonts differ from one machine to the next, and a line made of characters has gaps where the font of
the reader is not that of the author.  So lines, blocks and shades are drawn as shapes that fill
their cells, and text is stretched to the cells that it takes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from xml.sax.saxutils import escape

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
NO_BREAK = "\xa0"
"""A space that is as wide as the others, however many there are."""


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


def picture(title: str, screen: list[str], columns: int) -> str:
    """Return an SVG of a screen, given as lines with escape sequences."""
    width, height = columns * WIDE + 2 * MARGIN, len(screen) * HIGH + 2 * MARGIN
    size = f'width="{width:g}" height="{height:g}"'
    font = f'font-family="{FONT}" font-size="{SIZE}"'
    shapes = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" {size}>',
        f"<title>{escape(title)}</title>",
        f'<rect {size} rx="8" fill="{BACK}"/>',
        f'<g transform="translate({MARGIN} {MARGIN})" {font} fill="{PLAIN}">',
    ]
    look = Look()
    drawn = []
    for row, line in enumerate(screen):
        here = list(cells(line, look))
        look = here[-1].look if here else look
        drawn.append((here, row * HIGH))
    for here, top in drawn:
        shapes += _grounds(here, top)
    shapes += _lines(drawn)
    for here, top in drawn:
        shapes += _texts(here, top)
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


def _grounds(line: list[Cell], top: float) -> Iterator[str]:
    """Give what is behind the text of a line: that of reversed text, blocks and shades."""
    for look, group in groupby(line, key=lambda cell: cell.look):
        if look.reverse:
            yield _rect(list(group), top, f'fill="{look.ink}"')
    for (kind, look), group in groupby(line, key=lambda cell: (cell.text, cell.look)):
        if kind in BLOCKS:
            yield _rect(list(group), top, f'fill="{look.ink}" opacity="{BLOCKS[kind]}"', GAP)


def _rect(run: list[Cell], top: float, look: str, gap: float = 0.0) -> str:
    return (
        f'<rect x="{run[0].column * WIDE:g}" y="{top + gap:g}" width="{len(run) * WIDE:g}" '
        f'height="{HIGH - 2 * gap:g}" {look}/>'
    )


def _lines(drawn: list[tuple[list[Cell], float]]) -> Iterator[str]:
    """Give all lines of a screen, one path for each of their looks."""
    paths: defaultdict[tuple[str, float], str] = defaultdict(str)
    for line, top in drawn:
        for (kind, ink), group in groupby(line, key=lambda cell: (cell.text, cell.look.ink)):
            if kind in LINES:
                paths[ink, THICK.get(kind, 1.0)] += _path(list(group), top)
    for (ink, width), path in paths.items():
        yield f'<path d="{path}" stroke="{ink}" stroke-width="{width:g}" fill="none"/>'


def _path(run: list[Cell], top: float) -> str:
    """Return the lines of cells of one kind."""
    sides, middle = LINES[run[0].text], top + HIGH / 2
    left, right = run[0].column * WIDE, (run[-1].column + 1) * WIDE
    path = ""
    if LEFT in sides or RIGHT in sides:
        start = left if LEFT in sides else left + WIDE / 2
        end = right if RIGHT in sides else right - WIDE / 2
        path += f"M{start:g} {middle:g}H{end:g}"
    if UP in sides or DOWN in sides:
        start = top if UP in sides else middle
        end = top + HIGH if DOWN in sides else middle
        path += "".join(f"M{(cell.column + 0.5) * WIDE:g} {start:g}V{end:g}" for cell in run)
    return path


def _texts(line: list[Cell], top: float) -> Iterator[str]:
    """Give the text of a line: words of one look together, signs of other fonts one by one."""
    for (kind, look), group in groupby(line, key=lambda cell: (_kind(cell.text), cell.look)):
        run = list(group)
        words = "".join(cell.text for cell in run)
        if kind in LINES or kind in BLOCKS or not words.strip():
            continue
        weight = ' font-weight="bold"' if look.bold else ""
        ink = BACK if look.reverse else look.ink
        fill = "" if ink == PLAIN else f' fill="{ink}"'
        place = f'y="{top + BASE:g}"{fill}{weight}'
        if kind != "text":
            middle = (run[0].column + 0.5) * WIDE
            yield f'<text x="{middle:g}" text-anchor="middle" {place}>{escape(kind)}</text>'
            continue
        start = run[0].column + len(words) - len(words.lstrip())
        words = words.strip()
        yield (
            f'<text x="{start * WIDE:g}" textLength="{len(words) * WIDE:g}" '
            f'lengthAdjust="spacingAndGlyphs" {place}>{escape(words.replace(" ", NO_BREAK))}</text>'
        )


def _kind(character: str) -> str:
    """Return what is drawn together: text; other signs are drawn one by one."""
    return character if character > LAST_ASCII else "text"
