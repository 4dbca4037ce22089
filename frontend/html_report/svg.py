"""Small charts as inline SVG: stacked bars and histograms, with texts for those who do not see them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pixelforest.engine.terminal_text import printable

BAR_WIDTH, BAR_HEIGHT = 160, 16
_HATCHES = (  # class after class, over its colour
    "",
    "M0 6L6 0M-1 1L1 -1M5 7L7 5",
    "M0 3H6",
    "M0 0L6 6M-1 5L1 7M5 -1L7 1",
    "M3 0V6",
    "M0 3H6M3 0V6",
)


def text(value: object) -> str:
    """Make text of a page: nothing in it is markup, and control characters are shown as escapes."""
    return escape(printable(str(value)))


def pattern_id(index: int, colour: str) -> str:
    """Name of the fill of a class, by its index and its colour, #rrggbb."""
    return f"class-{index}-{colour.lstrip('#')}"


def draw_patterns(classes: Sequence[tuple[int, str]]) -> str:
    """Define the fills of classes, each by its index and colour: the colour with a hatch."""
    patterns = []
    for index, colour in classes:
        hatch = _HATCHES[index % len(_HATCHES)]
        line = f'<path d="{hatch}" stroke="{_ink(colour)}" stroke-opacity=".55" fill="none"/>' if hatch else ""
        patterns.append(
            f'<pattern id="{pattern_id(index, colour)}" width="6" height="6" patternUnits="userSpaceOnUse">'
            f'<rect width="6" height="6" fill="{colour}"/>{line}</pattern>'
        )
    return f'<svg width="0" height="0" class="hidden" aria-hidden="true"><defs>{"".join(patterns)}</defs></svg>'


def draw_swatch(index: int, colour: str) -> str:
    """Draw the fill of a class for a legend."""
    return (
        '<svg class="swatch" width="16" height="16" aria-hidden="true">'
        f'<rect width="16" height="16" fill="url(#{pattern_id(index, colour)})"/></svg>'
    )


def draw_bar(shares: Sequence[tuple[str, str, float]]) -> str:
    """Draw a stacked bar of shares: name, colour and share, from 0 to 1, of each class."""
    words = ", ".join(f"{name} {share:.1%}" for name, _, share in shares)
    parts, x = [], 0.0
    for index, (_, colour, share) in enumerate(shares):
        width = share * BAR_WIDTH
        parts.append(
            f'<rect x="{x:.2f}" width="{width:.2f}" height="{BAR_HEIGHT}" fill="url(#{pattern_id(index, colour)})"/>'
        )
        x += width
    return (
        f'<svg class="bar" viewBox="0 0 {BAR_WIDTH} {BAR_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{text(words)}">'
        f"<title>{text(words)}</title>{''.join(parts)}</svg>"
    )


def draw_histogram(counts: Sequence[int], title: str, low: str, high: str) -> str:
    """Draw a histogram between two values, with a title."""
    top = max(counts, default=0) or 1
    bars = "".join(f"M{i * 5} 50v-{max(1.0, 48 * count / top):.1f}h4V50z" for i, count in enumerate(counts) if count)
    width = 5 * len(counts) - 1
    words = f"{title}: histogram from {low} to {high}, highest near {_where(counts, low, high)}"
    return (
        f'<figure class="chart"><svg viewBox="0 0 {width} 50" preserveAspectRatio="none" role="img" '
        f'aria-label="{text(words)}"><path d="{bars}"/></svg>'
        f'<div class="range"><span>{text(low)}</span><span>{text(high)}</span></div>'
        f"<figcaption>{text(title)}</figcaption></figure>"
    )


def _where(counts: Sequence[int], low: str, high: str) -> str:
    """Name the part of the range where most values are."""
    place = counts.index(max(counts)) / max(1, len(counts) - 1) if counts else 0.0
    return low if place < 0.2 else high if place > 0.8 else "the middle"


def _ink(colour: str) -> str:
    """Black or white, whichever is easier to see on a colour."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else "#ffffff"
