"""What a judge scores generated answers: the worker asks it, which has the credentials, and keeps what it says."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count

from tidemill_trainer.learning.reports import Reports, Unreported

MAX_ANSWERS = 64
"""Of one line to the worker."""
MAX_BYTES = 512 * 1024
"""Of one line, which may be as long again: what is longer is not judged."""
UNSCORED = "judge/unscored"
"""The curve of the share of answers that were not judged."""


class JudgedReward:
    """A judge, as a reward function of TRL: None where it has not judged."""

    def __init__(self, reports: Reports | Unreported, *, name: str) -> None:
        self.__name__ = name
        self._reports = reports

    def __call__(
        self,
        completions: Sequence[str],
        reference: Sequence[str],
        asked: Sequence[str],
        log_metric: Callable[[str, float], None],
        **_: object,
    ) -> list[float | None]:
        """Return the score of each answer; `asked` are the turns before it, as JSON."""
        answers = [
            {"asked": json.loads(turns), "answer": answer, "reference": to}
            for turns, answer, to in zip(asked, completions, reference, strict=True)
        ]
        scores: dict[int, float | None] = {}
        for batch in _batches(answers):
            found = self._reports.ask("judge", answers=[answers[place] for place in batch])["scores"]
            scores |= dict(zip(batch, found, strict=True))
        given = [scores.get(place) for place in range(len(answers))]
        log_metric(UNSCORED, sum(score is None for score in given) / len(given))
        return given


def _batches(answers: Sequence[Mapping[str, object]]) -> Iterator[Sequence[int]]:
    """Yield the places of answers that one line has; those too long for any are in none."""
    batch, size = list[int](), 0
    for place, answer in zip(count(), answers, strict=False):
        taken = len(json.dumps(answer))
        if taken > MAX_BYTES:
            continue
        if batch and (len(batch) == MAX_ANSWERS or size + taken > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(place)
        size += taken
    if batch:
        yield batch
