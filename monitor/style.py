"""The characters that frames are drawn with: one set for Unicode terminals, one for ASCII."""

from __future__ import annotations

from dataclasses import dataclass

from .cells import clean
from .states import Look


@dataclass(frozen=True, slots=True)
class Style:
    """A set of characters; each is one cell wide but for `dots` and `enter`.

    Attributes:
        ascii_only: nothing above 127 is ever drawn; foreign text gets question marks.
        across, down: lines of the border.
        corners: top left, top right, bottom left, bottom right.
        tees: where lines meet: left, right, top, bottom, cross.
        full, empty: the two halves of a bar.
        up, down_mark, thumb: of the scroll bar.
        folded, unfolded: before the name of a group.
        dots: where text is missing.
        enter: the key.
    """

    ascii_only: bool
    across: str
    down: str
    corners: str
    tees: str
    full: str
    empty: str
    up: str
    down_mark: str
    thumb: str
    folded: str
    unfolded: str
    dots: str
    enter: str

    def text(self, foreign: str) -> str:
        """Return foreign text as this style can draw it, each character of certain width."""
        return clean(foreign, ascii_only=self.ascii_only)

    def glyph(self, look: Look) -> str:
        """Return the character that stands for a look."""
        return look.ascii if self.ascii_only else look.glyph

    def bar(self, percent: float, cells: int) -> tuple[str, str]:
        """Return the full and the empty part of a bar of `cells`.

        Full only at 100 percent, as what is nearly done is not done.
        """
        full = int(cells * percent / 100)
        return self.full * full, self.empty * (cells - full)


UNICODE = Style(
    ascii_only=False,
    across="─",
    down="│",
    corners="┌┐└┘",
    tees="├┤┬┴┼",
    full="█",
    empty="░",
    up="▲",
    down_mark="▼",
    thumb="┃",
    folded="▸",
    unfolded="▾",
    dots="…",
    enter="⏎",
)

ASCII = Style(
    ascii_only=True,
    across="-",
    down="|",
    corners="++++",
    tees="+++++",
    full="#",
    empty="-",
    up="^",
    down_mark="v",
    thumb="#",
    folded="+",
    unfolded="-",
    dots="..",
    enter="Enter",
)
