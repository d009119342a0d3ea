"""Draw a run's cost-F1 front as an SVG, from its leaderboard: the picture in the README.

lft leaderboard runs/quickstart --json | python benchmarks/draw_front.py > docs/front.svg
"""

import json
import math
import sys
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 760, 360, 70, 56, 30, 24
INK, FAINT, ACCENT = "#24292f", "#8b949e", "#0b7285"


def text(x: float, y: float, words: str, attributes: str = "", fill: str = INK) -> str:
    """One label."""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" {attributes}>{words}</text>'


def ticks(low: float, high: float) -> list[float]:
    """1-2-5 marks of a logarithmic axis."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    return [mark for power in powers for mark in (10.0**power, 2 * 10.0**power, 5 * 10.0**power) if low <= mark <= high]


def points(board: dict[str, Any], rows: list[dict[str, Any]], at: Any) -> list[str]:
    """Circles and names; names go above and below in turn, so that near points stay readable."""
    parts = []
    for index, row in enumerate(sorted(rows, key=lambda r: r["usd_per_million_predictions"])):
        x, y = at(row)
        won = row["trial_id"] == board["winner"]["trial_id"]
        fill = ACCENT if row["on_front"] else "#ffffff"
        circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{8 if won else 5}" fill="{fill}"'
        parts.append(f'{circle} stroke="{ACCENT}" stroke-width="2"/>')
        label = f"{row['model_size']} (winner)" if won else row["model_size"]
        style = 'font-weight="700"' if won else ""
        parts.append(text(x, y + (24 if index % 2 else -14), label, f'text-anchor="middle" {style}'))
    return parts


def draw(board: dict[str, Any]) -> str:
    """Return the SVG text of the front, the ladder and the winner."""
    rows = board["ladder"]
    costs, scores = [row["usd_per_million_predictions"] for row in rows], [row["f1"] for row in rows]
    low, high = min(costs) / 1.6, max(costs) * 1.6
    floor, roof = math.floor(min(scores) * 20 - 0.8) / 20, min(1.0, math.ceil(max(scores) * 20 + 0.2) / 20)

    def at(row: dict[str, Any]) -> tuple[float, float]:
        share = math.log(row["usd_per_million_predictions"] / low) / math.log(high / low)
        return LEFT + share * (WIDTH - LEFT - RIGHT), height(row["f1"])

    def height(score: float) -> float:
        return HEIGHT - BOTTOM - (score - floor) / (roof - floor) * (HEIGHT - BOTTOM - TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for step in range(round((roof - floor) * 20) + 1):
        score = floor + step / 20
        y = height(score)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eaeef2"/>')
        parts.append(text(LEFT - 10, y + 4, f"{score:.2f}", 'text-anchor="end"', FAINT))
    for cost in ticks(low, high):
        x, _ = at({"usd_per_million_predictions": cost, "f1": floor})
        parts.append(text(x, HEIGHT - BOTTOM + 20, f"${cost:g}", 'text-anchor="middle"', FAINT))
    middle, centre = (LEFT + WIDTH - RIGHT) / 2, (HEIGHT - BOTTOM) / 2
    parts.append(text(middle, HEIGHT - 10, "US dollars per million predictions (log)", 'text-anchor="middle"'))
    parts.append(text(18, centre, "macro-F1", f'text-anchor="middle" transform="rotate(-90 18 {centre})"'))
    front = sorted(board["front"], key=lambda row: row["usd_per_million_predictions"])
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(at, front))
    parts.append(f'<polyline points="{path}" fill="none" stroke="{ACCENT}" stroke-width="2"/>')
    return "\n".join([*parts, *points(board, rows, at), "</svg>"]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(draw(json.load(sys.stdin)))
