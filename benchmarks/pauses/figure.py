"""The curve as an SVG of our own few lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.pauses.tally import Result

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 56, 20, 40, 48
WAIT_MS = (200, 800)
TITLE = "pauses inside a turn that were taken for its end"
INK, PALE, OURS, THEIRS = "#444", "#ddd", "#0b7285", "#868e96"


def curve_svg(
    silence: Sequence[Result], ours: Sequence[Result], before: Result, normal: Result
) -> str:
    """Committed pauses over the median wait: two curves, and two points with their names."""
    marks = [
        *(_line((WAIT_MS[0], share), (WAIT_MS[1], share)) for share in (0, 0.25, 0.5, 0.75, 1)),
        *(
            _text(WAIT_MS[0], share, f"{share:.0%}", dx=-8, dy=4, anchor="end")
            for share in (0, 0.5, 1)
        ),
        *(_text(wait, 0, f"{wait}", dy=18, anchor="middle") for wait in range(200, 801, 100)),
        _text(500, 0, "median wait after a complete utterance, ms", dy=38, anchor="middle"),
        _text(WAIT_MS[0], 1, TITLE, dx=-36, dy=-16),
        _curve(silence, THEIRS),
        _curve(ours, OURS),
        _point(before, THEIRS, "three tiers"),
        _point(normal, OURS, "pace normal"),
        _named(silence[len(silence) // 2], "silence alone"),
        _named(ours[-2], "words, voice and silence"),
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
    style = f'font-family="sans-serif" font-size="13" fill="{INK}"'
    paper = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    title = f"<title>{TITLE}, over the median wait</title>"
    return "\n".join([f"{head} {style}>", title, paper, *marks, "</svg>", ""])


def _at(wait_ms: float, share: float) -> tuple[float, float]:
    x = LEFT + (wait_ms - WAIT_MS[0]) / (WAIT_MS[1] - WAIT_MS[0]) * (WIDTH - LEFT - RIGHT)
    return round(x, 1), round(TOP + (1 - share) * (HEIGHT - TOP - BOTTOM), 1)


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = _at(*start), _at(*end)
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{PALE}"/>'


def _text(
    wait_ms: float, share: float, words: str, *, dx: float = 0, dy: float = 0, anchor: str = "start"
) -> str:
    x, y = _at(wait_ms, share)
    return f'<text x="{x + dx}" y="{y + dy}" text-anchor="{anchor}">{words}</text>'


def _curve(results: Sequence[Result], colour: str) -> str:
    shown = [one for one in results if WAIT_MS[0] <= one.wait_ms[0] <= WAIT_MS[1]]
    points = " ".join(f"{x},{y}" for x, y in (_at(r.wait_ms[0], r.committed) for r in shown))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _point(one: Result, colour: str, name: str) -> str:
    x, y = _at(one.wait_ms[0], one.committed)
    dot = f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"/>'
    return dot + _text(one.wait_ms[0], one.committed, name, dx=8, dy=-6)


def _named(one: Result, name: str) -> str:
    return _text(one.wait_ms[0], one.committed, name, dx=8, dy=-6)
