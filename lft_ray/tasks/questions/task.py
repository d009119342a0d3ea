"""Questions about a context, answered by a piece of it (extractive question answering). Head: start and end of a token.

The targets of a row are its true answers with their context; those of a window are the positions of start and end. What
a model says of a row is laid out by `lft_ray.tasks.questions.layout`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from lft_ray.errors import DataError
from lft_ray.records.panels import Panel
from lft_ray.tasks.base import Description, Floats, Task
from lft_ray.tasks.columns import Column
from lft_ray.tasks.facts import Facts
from lft_ray.tasks.findings import Findings
from lft_ray.tasks.judging import Answers, Floats64, RowScores, WeightedMean, WeightedMetric
from lft_ray.tasks.questions.checks import ANSWERS, CONTEXT, MIN_QUESTIONS, QUESTION, check_answers, check_conflicts
from lft_ray.tasks.questions.layout import WIDTH, candidates_of, log_total_of, none_score_of
from lft_ray.tasks.questions.panels import length_group, question_word, score_panel
from lft_ray.tasks.questions.scoring import exact_and_f1, is_written_without_blanks
from lft_ray.tasks.questions.truth import truth_array
from lft_ray.tasks.rows import CleanRows, RawTable, Repeats, Values
from lft_ray.texts import Text
from lft_ray.wire import Prediction, PredictionKind, SpanAnswer

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

__all__ = ["QuestionFacts", "Questions"]

QUESTION_NAMES = ("question", "query", "questions", "q", "prompt")
CONTEXT_NAMES = ("context", "passage", "paragraph", "document", "text", "article", "contexts", "story")
ANSWERS_NAMES = ("answers", "answer", "answer_text", "answers_text", "label", "span", "spans", "a")
"""Column names tried where the experiment file names none, in order of preference."""
NO_TARGET = -1
"""Target of a window that nothing is learned from, since the answer of its question is not in the context."""
_BETWEEN = " \u241f "
"""Stands between question and context of one row (the symbol for a unit separator)."""
_LEAST_TOKENS = 30
"""Tokens that an answer may have at least, as in BERT's script for SQuAD."""
_LEAST_PROBABILITY = 1e-6
_SHORT_WORDS = 3


class QuestionFacts(Facts):
    """What is learned from the train rows."""

    has_none: bool
    """Whether some question has no answer."""
    by_character: bool
    """Whether F1 counts letters: most answers are of a script without blanks."""
    longest_tokens: int
    """Maximum tokens of an answer."""


class Questions:
    """Questions with a context and one or several true answers, which are pieces of it; or none.

    Args:
        facts: what was learned from the train rows.
    """

    kind = "question_answering"
    columns: tuple[Column, ...] = (
        Column(QUESTION, QUESTION_NAMES, "text", "input"),
        Column(CONTEXT, CONTEXT_NAMES, "text", "input"),
        Column(ANSWERS, ANSWERS_NAMES, "spans", "truth"),
    )
    metric_names: Mapping[str, str] = {"f1": "F1", "exact_match": "exact match"}
    facts_type = QuestionFacts
    head = "tokens"
    predicts: PredictionKind = "spans"
    is_exclusive = True

    def __init__(self, facts: QuestionFacts) -> None:
        self.facts = facts
        self.labels: list[str] = []

    # ------------------------------------------------------------ the data

    @classmethod
    def read_targets(cls, column: "pa.Array") -> list[list[str]]:
        """Refuse: no column of this task holds names."""
        raise DataError(f"task {cls.kind} has no column of names, got one of {column.type}")

    @classmethod
    def allows_empty(cls) -> bool:
        """Return True: a question may have no answer."""
        return True

    @classmethod
    def learn(cls, train: Values) -> QuestionFacts:
        """Return whether there are questions without an answer, how F1 counts, and how long answers are."""
        texts = [text for given in train[ANSWERS] for text, _ in given]
        by_character = is_written_without_blanks(texts)
        # Tokens are pieces of words: two for each are enough for all but the rarest.
        longest = max((len(text) if by_character else 2 * len(text.split()) for text in texts), default=0)
        return QuestionFacts(
            has_none=any(not given for given in train[ANSWERS]),
            by_character=by_character,
            longest_tokens=max(_LEAST_TOKENS, longest),
        )

    @classmethod
    def of(cls, facts: Facts) -> Self:
        """Make the task with what was learned.

        Raises:
            TypeError: these are the facts of another kind of task.
        """
        if not isinstance(facts, QuestionFacts):
            raise TypeError(f"{cls.__name__} needs QuestionFacts, got {type(facts).__name__}")
        return cls(facts)

    @classmethod
    def identity(cls, values: Values) -> list[str]:
        """Return question and context of each row."""
        return [_BETWEEN.join(row) for row in zip(values[QUESTION], values[CONTEXT], strict=True)]

    @classmethod
    def counts(cls, values: Values) -> dict[str, int]:
        """Return the number of questions with and without an answer."""
        answered = sum(bool(given) for given in values[ANSWERS])
        counts = {"answered": answered, "without an answer": len(values[ANSWERS]) - answered}
        return {name: count for name, count in counts.items() if count}

    @classmethod
    def report_missing(cls, table: RawTable, split: str, is_missing: Sequence[bool], findings: Findings) -> None:
        """Do nothing: a question without an answer is one."""

    @classmethod
    def unify(cls, rows: Mapping[str, CleanRows], findings: Findings) -> dict[str, CleanRows]:
        """Return the rows as they are."""
        del findings
        return dict(rows)

    @classmethod
    def check(cls, train: CleanRows, *, splits: int, findings: Findings) -> None:
        """Check the number of train questions, and their answers."""
        if len(train) < MIN_QUESTIONS * splits:
            message = (
                f"train has {len(train)} questions, at least {MIN_QUESTIONS} are needed for each of {splits} splits"
            )
            findings.error("too_few_rows", message, fix="add questions")
        elif not any(train.values[ANSWERS]):
            message = "no train question has an answer"
            findings.error("no_answers", message, fix="name the column of the answers with --set task.columns.answers=")
        check_answers(train, findings)

    @classmethod
    def check_other(cls, train: CleanRows, other: CleanRows, findings: Findings) -> None:
        """Check the answers of a split that was given as a file."""
        check_answers(other, findings)
        if any(not given for given in other.values[ANSWERS]) and all(train.values[ANSWERS]):
            message = f"{other.split} has questions without an answer, train has none"
            fix = "a model cannot learn to give no answer from train; add such questions"
            findings.warning("unseen_no_answer", message, at=other.origin(0), fix=fix)

    @classmethod
    def check_repeats(cls, rows: CleanRows, repeats: Repeats, findings: Findings) -> int:
        """Warn of repeated questions with other answers; return their number."""
        return check_conflicts(rows, repeats, findings)

    def check_split(self, rows: CleanRows, findings: Findings) -> None:
        """Report a split without a question."""
        if not len(rows):
            findings.error("split_too_small", f"no row is left for {rows.split}", fix="add rows")

    def encode(self, values: Values) -> NDArray[Any]:
        """Return the truth of each row, object [n]; see `truth_array`."""
        return truth_array(values[QUESTION], values[CONTEXT], values[ANSWERS])

    def strata(self, values: Values) -> list[str]:
        """Return whether each question has an answer."""
        return ["answered" if given else "without an answer" for given in values[ANSWERS]]

    # ------------------------------------------------------------ training

    @property
    def outputs(self) -> int:
        """Outputs of the head for each token: start and end."""
        return 2

    @property
    def longest_answer(self) -> int:
        """Maximum tokens of an answer."""
        return self.facts.longest_tokens

    @property
    def row_width(self) -> int:
        """Numbers that describe what a model says of one row."""
        return WIDTH

    def loss(self, logits: "torch.Tensor", targets: "torch.Tensor", weights: "torch.Tensor | None") -> "torch.Tensor":
        """Return the SUM over the windows of the cross-entropy of start and end, halved, in fp32.

        Args:
            logits: float [windows, t, 2].
            targets: positions of start and end in the window, int64 [windows, 2]; 0 for windows without an answer.
            weights: None.
        """
        from torch.nn import functional

        del weights
        width = logits.float().transpose(1, 2).reshape(-1, logits.shape[1])
        return functional.cross_entropy(width, targets.reshape(-1), reduction="sum", ignore_index=NO_TARGET) / 2

    def units(self, targets: NDArray[Any], weights: Floats | None) -> float:
        """Return the number of windows that something is learned from."""
        del weights
        return float(max(1, (targets[:, 0] != NO_TARGET).sum()))

    def class_weights(self, targets: NDArray[Any]) -> Floats:
        """Refuse: there are no classes to weigh.

        Raises:
            DataError: always.
        """
        del targets
        raise DataError("questions have no classes to weigh", fix="--set training.class_weights=none")

    def judged_loss(self, truth: NDArray[Any], outputs: Floats) -> float:
        """Return the mean of -log of the probability that a model gives to a true answer.

        Of a true answer that is not among the model's best spans, the probability is that of the last of these: the
        loss is a lower bound.
        """
        probabilities = self._probabilities(outputs)
        spans = candidates_of(outputs)[:, :, :2].astype(np.int64)
        losses = []
        for row, true in enumerate(truth):
            places = {(start, start + len(text)) for start, text in zip(true["starts"], true["answers"], strict=True)}
            right = [
                p for (a, b), p in zip(spans[row].tolist(), probabilities[row, :-1], strict=True) if (a, b) in places
            ]
            likely = sum(right) if places else probabilities[row, -1]
            losses.append(-math.log(max(float(likely or probabilities[row, :-1].min()), _LEAST_PROBABILITY)))
        return float(np.mean(losses))

    def _probabilities(self, outputs: Floats) -> Floats64:
        """Probability of each candidate, and of no answer, [n, candidates + 1]."""
        scores = candidates_of(outputs)[:, :, 2].astype(np.float64)
        none = none_score_of(outputs) if self.facts.has_none else np.full(len(outputs), -np.inf)
        total = np.logaddexp(np.maximum(log_total_of(outputs), -1e300), none)
        with np.errstate(over="ignore", under="ignore"):
            result: Floats64 = np.exp(np.minimum(np.column_stack([scores, none]) - total[:, None], 0.0))
        return result

    # ------------------------------------------------------------ judging

    @classmethod
    def row_spread(cls, metric: str, counts: Mapping[str, int], rows: int) -> float:
        """Return 1 / the number of questions."""
        del metric, counts
        return 1.0 / max(1, rows)

    def answers(self, outputs: Floats) -> Answers:
        """Return start and end of the answer to each question, int64 [n, 2]; -1 where there is none."""
        best = candidates_of(outputs)[:, 0]
        spans = best[:, :2].astype(np.int64)
        if self.facts.has_none:
            spans[none_score_of(outputs) > best[:, 2]] = -1
        return spans

    def row_scores(self, targets: NDArray[Any], answers: Answers) -> RowScores:
        """Return F1 and exact match of each row, float32 [n, 2]."""
        scores = [
            exact_and_f1(
                true["context"][start:end] if start >= 0 else None,
                true["answers"],
                has_none=self.facts.has_none,
                by_character=self.facts.by_character,
            )
            for true, (start, end) in zip(targets, answers.tolist(), strict=True)
        ]
        return np.array([(f1, exact) for exact, f1 in scores], dtype=np.float32).reshape(-1, 2)

    def metrics(self, targets: NDArray[Any], logits: Floats) -> dict[str, float]:
        """Return f1 and exact_match, each 0 to 1."""
        scores = self.row_scores(targets, self.answers(logits))
        means = scores.mean(axis=0, dtype=np.float64) if len(scores) else np.zeros(2)
        return {"f1": float(means[0]), "exact_match": float(means[1])}

    def weighted_metric(self, metric: str, runs: Sequence[RowScores]) -> WeightedMetric:
        """Return the weighted mean of a column of row scores.

        Raises:
            ValueError: the metric is unknown.
        """
        names = list(self.metric_names)
        if metric not in names:
            raise ValueError(f"unknown metric {metric!r}: expected one of {', '.join(names)}")
        return WeightedMean(runs, names.index(metric))

    def row_strata(self, targets: NDArray[Any]) -> NDArray[np.int64]:
        """Return whether each question has an answer."""
        return np.array([bool(true["answers"]) for true in targets], dtype=np.int64)

    def panels(self, targets: NDArray[Any], answers: Answers) -> list[Panel]:
        """Return F1 and exact match by question word, and by the length of the true answer."""
        scores = self.row_scores(targets, answers)
        return [
            score_panel(
                "Question words", "By the first of these words in the question.", targets, scores, question_word
            ),
            score_panel("Answers", "By the words of the first true answer.", targets, scores, length_group),
        ]

    # ------------------------------------------------------------ comparing and telling

    def same(self, ours: Answers, theirs: Answers) -> NDArray[np.bool_]:
        """Return whether the answers are the same piece of the context."""
        equal: NDArray[np.bool_] = (ours == theirs).all(axis=1)
        return equal

    def score_change(self, ours: Floats, theirs: Floats) -> NDArray[np.float64]:
        """Return the largest change of the probability of a piece of the context, or of no answer, float64 [n].

        What is not among the best spans of the other has at most the probability of the last of these: its change is
        a lower bound.
        """
        ours_p, theirs_p = self._probabilities(ours), self._probabilities(theirs)
        places, others = candidates_of(ours)[:, :, :2], candidates_of(theirs)[:, :, :2]
        is_same = (places[:, :, None] == others[:, None]).all(axis=-1)
        change = np.abs(ours_p[:, -1] - theirs_p[:, -1])
        for mine, other, found in (
            (ours_p[:, :-1], theirs_p[:, :-1], is_same),
            (theirs_p[:, :-1], ours_p[:, :-1], is_same.transpose(0, 2, 1)),
        ):
            # A place occurs once in a row; empty places have the probability 0.
            there = np.where(found, other[:, None], 0.0).max(axis=2)
            unknown = np.maximum(mine - other[:, -1:], 0.0)
            moved = np.where(found.any(axis=2), np.abs(mine - there), unknown)
            change = np.maximum(change, moved.max(axis=1))
        return change

    def mismatch(self, other: Task) -> str:
        """Return nothing: all models that answer questions may replace each other."""
        del other
        return ""

    @property
    def description(self) -> Description:
        """Return that its models answer questions with a piece of their context."""
        return Description(
            noun=f"Extractive question answering ({self.kind})",
            pipeline_tag="question-answering",
            metrics=["f1", "exact_match"],
            outputs="pieces of a context with their places and probabilities",
            example='{"question": "a question", "context": "its context"}',
            response=(
                "The response is in Hugging Face's question-answering format: the answer, its score, and the "
                "characters of the context at which it starts and ends; an empty answer says that the context has none."
            ),
        )

    def predictions(
        self, outputs: Floats, inputs: Sequence[Text], *, top_k: int | None = None, function: str | None = None
    ) -> list[Prediction]:
        """Return the answers to each question, most probable first.

        Args:
            outputs: float32 [n, width].
            inputs: question and context of each row; answers are cut from the context.
            top_k: number of answers to each question; None: one. Fewer where there are no more.
            function: has no meaning here.
        """
        del function
        return [
            [self._answer(given[1], *span) for span in spans[: top_k or 1]]
            for given, spans in zip(inputs, self._ranked(outputs), strict=True)
        ]

    def _ranked(self, outputs: Floats) -> list[list[tuple[int, int, float]]]:
        """Start, end and probability of the answers to each question, best first; -1 stands for no answer."""
        probabilities, spans = self._probabilities(outputs), candidates_of(outputs)[:, :, :2].astype(np.int64)
        ranked = []
        for row, places in enumerate(spans.tolist()):
            found = [(a, b, float(p)) for (a, b), p in zip(places, probabilities[row], strict=False) if a >= 0]
            if self.facts.has_none or not found:
                found.append((-1, -1, float(probabilities[row, -1])))
            ranked.append(sorted(found, key=lambda one: -one[2]))
        return ranked

    def _answer(self, context: str, start: int, end: int, score: float) -> SpanAnswer:
        if start < 0:
            return SpanAnswer(answer="", start=0, end=0, score=score)
        return SpanAnswer(answer=context[start:end], start=start, end=end, score=score)

    def bucket(self, prediction: Prediction) -> str:
        """Return whether there is an answer, and whether it is short or long."""
        answer = prediction[0]
        assert isinstance(answer, SpanAnswer)
        words = len(answer.answer.split())
        return "no answer" if not words else "1 to 3 words" if words <= _SHORT_WORDS else "more words"

    def answer_table(self, outputs: Floats, blank: NDArray[np.bool_], inputs: Sequence[Text]) -> "pa.Table":
        """Return the columns answer (empty: there is none), start, end and score."""
        import pyarrow as pa

        found = [answers[0] for answers in self.predictions(outputs, inputs)]
        rows = [None if nothing else answer.model_dump() for nothing, answer in zip(blank, found, strict=True)]
        kinds = {"answer": pa.string(), "start": pa.int64(), "end": pa.int64(), "score": pa.float32()}
        return pa.table({name: pa.array([row and row[name] for row in rows], kind) for name, kind in kinds.items()})
