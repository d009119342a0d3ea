"""FastAPI around the transformers pipeline: what most teams write first.

python fastapi_pipeline.py FOLDER PORT
"""

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline


class Wanted(BaseModel):
    """A request."""

    inputs: str


def main() -> None:
    classify = pipeline("text-classification", model=sys.argv[1], device="cpu")
    app = FastAPI()

    @app.post("/")
    def answer(wanted: Wanted) -> list[dict[str, str | float]]:
        return classify(wanted.inputs)

    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
