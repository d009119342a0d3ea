"""Small questions with contexts, written for these tests."""

from typing import Any

NAMES = ("Ada", "Bruno", "Chen", "Dina", "Emil", "Farah", "Goran", "Hana", "Ivo", "Jana")
TOWNS = ("Lund", "Porto", "Graz", "Turin", "Bergen", "Ghent", "Krakow", "Malmo")
THINGS = ("bridge", "library", "school", "market", "theatre", "garden")


def row(number: int) -> dict[str, Any]:
    """Question, context and answers of one row; which of its three facts is asked for depends on the number."""
    name, town = NAMES[number % len(NAMES)], TOWNS[(number * 3 + number // 8) % len(TOWNS)]
    thing, year = THINGS[(number * 5 + number // 6) % len(THINGS)], 1900 + number % 97
    context = f"In {year} the {thing} of {town} was opened by {name}. Nobody had expected so many guests."
    asked = (("Who opened the {0} of {1}?", name), ("When was the {0} of {1} opened?", str(year)))[number % 2]
    answer = asked[1]
    return {
        "question": asked[0].format(thing, town),
        "context": context,
        "answers": [{"text": answer, "answer_start": context.index(answer)}],
    }


def rows(count: int, *, without_answer: int = 0) -> list[dict[str, Any]]:
    """Rows, of which every ``without_answer``-th has none."""
    made = [row(number) for number in range(count)]
    for number in range(0, count, without_answer) if without_answer else ():
        made[number]["question"], made[number]["answers"] = "Who closed the harbour?", []
    return made
