"""Draw a run's cost-F1 front as an SVG, from its leaderboard: the picture in the README.

lft leaderboard runs/quickstart --json | python benchmarks/draw_front.py > docs/front.svg
"""

import json
import math
import sys
from typing import Any

from lft_ray.records import FrontPoint

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 760, 360, 70, 56, 30, 24
INK, FAINT, ACCENT = "#24292f", "#8b949e", "#0b7285"
NAME_WIDTH, NAME_HEIGHT = 70, 16
COLOURS = (ACCENT, "#c2410c", "#6f42c1")


def text(x: float, y: float, words: str, attributes: str = "", fill: str = INK) -> str:
    """One label."""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" {attributes}>{words}</text>'


def ticks(low: float, high: float) -> list[float]:
    """1-2-5 marks of a logarithmic axis."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    return [mark for power in powers for mark in (10.0**power, 2 * 10.0**power, 5 * 10.0**power) if low <= mark <= high]


class Frame:
    """Axes around some points: dollars on a logarithmic scale, F1 in steps of 0.05.

    Args:
        costs: US dollars per million predictions.
        scores: macro-F1.
    """

    def __init__(self, costs: list[float], scores: list[float]) -> None:
        self.low, self.high = min(costs) / 1.6, max(costs) * 1.6
        self.floor = math.floor(min(scores) * 20 - 0.8) / 20
        self.roof = min(1.0, math.ceil(max(scores) * 20 + 0.2) / 20)

    def x(self, cost: float) -> float:
        """Where a cost stands."""
        share = math.log(cost / self.low) / math.log(self.high / self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, score: float) -> float:
        """Where an F1 stands."""
        return HEIGHT - BOTTOM - (score - self.floor) / (self.roof - self.floor) * (HEIGHT - BOTTOM - TOP)

    def parts(self) -> list[str]:
        """The opening of the SVG, grid, ticks and titles."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="system-ui, sans-serif" font-size="13">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        ]
        for step in range(round((self.roof - self.floor) * 20) + 1):
            score = self.floor + step / 20
            y = self.y(score)
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eaeef2"/>')
            parts.append(text(LEFT - 10, y + 4, f"{score:.2f}", 'text-anchor="end"', FAINT))
        for cost in ticks(self.low, self.high):
            parts.append(text(self.x(cost), HEIGHT - BOTTOM + 20, f"${cost:g}", 'text-anchor="middle"', FAINT))
        middle, centre = (LEFT + WIDTH - RIGHT) / 2, (HEIGHT - BOTTOM) / 2
        parts.append(text(middle, HEIGHT - 10, "US dollars per million predictions (log)", 'text-anchor="middle"'))
        parts.append(text(18, centre, "macro-F1", f'text-anchor="middle" transform="rotate(-90 18 {centre})"'))
        return parts

    def line(self, points: list[tuple[float, float]], colour: str, *, step: bool = False) -> str:
        """A line through (cost, F1), cheapest first; ``step``: as a staircase, for nothing lies between two models."""
        corners: list[tuple[float, float]] = []
        for cost, score in points:
            if step and corners:
                corners.append((self.x(cost), corners[-1][1]))
            corners.append((self.x(cost), self.y(score)))
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def points(board: dict[str, Any], rows: list[dict[str, Any]], frame: Frame) -> list[str]:
    """Circles and names."""
    parts = []
    rows = sorted(rows, key=lambda r: r["usd_per_million_predictions"])
    places = [(frame.x(row["usd_per_million_predictions"]), frame.y(row["f1"])) for row in rows]
    for row, (x, y), name_y in zip(rows, places, _names(places), strict=True):
        won = row["trial_id"] == board["winner"]["trial_id"]
        fill = ACCENT if row["on_front"] else "#ffffff"
        circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{8 if won else 5}" fill="{fill}"'
        parts.append(f'{circle} stroke="{ACCENT}" stroke-width="2"/>')
        label = f"{row['model_size']} (winner)" if won else row["model_size"]
        style = 'font-weight="700"' if won else ""
        parts.append(text(x, name_y, label, f'text-anchor="middle" {style}'))
    return parts


def _names(places: list[tuple[float, float]]) -> list[float]:
    """Where the names stand: below a point that has a higher one near it, else above; none on another."""
    found: list[float] = []
    for index, (x, y) in enumerate(places):
        near = [one for one in places if one != (x, y) and abs(one[0] - x) < NAME_WIDTH]
        is_below = any(other < y for _, other in near)
        name_y = y + 24 if is_below else y - 16
        for (other_x, _), other_y in zip(places[:index], found, strict=False):
            if abs(other_x - x) < NAME_WIDTH and abs(other_y - name_y) < NAME_HEIGHT:
                name_y = other_y + (NAME_HEIGHT if is_below else -NAME_HEIGHT)
        found.append(name_y)
    return found


def draw(board: dict[str, Any]) -> str:
    """Return the SVG text of the front, the ladder and the winner."""
    rows = board["ladder"]
    frame = Frame([row["usd_per_million_predictions"] for row in rows], [row["f1"] for row in rows])
    front = sorted(board["front"], key=lambda row: row["usd_per_million_predictions"])
    path = frame.line([(row["usd_per_million_predictions"], row["f1"]) for row in front], ACCENT)
    return "\n".join([*frame.parts(), path, *points(board, rows, frame), "</svg>"]) + "\n"


def draw_fronts(fronts: dict[str, list[list[FrontPoint]]]) -> str:
    """Return the SVG text of several searches' fronts over each other, a colour for each method."""
    everything = [point for runs in fronts.values() for run in runs for point in run]
    frame = Frame([p.usd_per_million_predictions for p in everything], [p.f1 for p in everything])
    parts = frame.parts()
    for row, (colour, (name, runs)) in enumerate(zip(COLOURS, fronts.items(), strict=False)):
        for run in runs:
            places = sorted((point.usd_per_million_predictions, point.f1) for point in run)
            parts.append(frame.line(places, colour, step=True))
            for cost, f1 in places:
                x, y = frame.x(cost), frame.y(f1)
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
        parts.append(text(LEFT + 12, TOP + 6 + 20 * row, name, 'font-weight="700"', colour))
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(draw(json.load(sys.stdin)))
