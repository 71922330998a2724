"""What equal trainings need of memory is estimated once: that is a third of what a training of a tiny model takes.

`test_step_memory` and others hold the estimate itself.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import pytest

from tidemill_trainer.learning.job import Job
from tidemill_trainer.training.domain.fit import Fit

CHANGE_NOTHING = frozenset({"seed", "learning_rate", "lr_scheduler_type"})
"""Settings that need no other memory."""
_estimated: dict[str, Fit] = {}


def train_as_before(job: Job, reports: Any) -> None:  # noqa: ANN401 - what only reports
    """Train, with the estimate of an equal training before."""
    from tidemill_trainer.learning.training import train  # noqa: PLC0415 - seconds of imports

    with same_fits():
        train(job, reports)


@contextmanager
def same_fits() -> Iterator[None]:
    """Have trainings of this block take the estimate of an equal one before."""
    from tidemill_trainer.learning import training  # noqa: PLC0415 - seconds of imports
    from tidemill_trainer.learning.fitting import fit_of as estimate  # noqa: PLC0415 - ditto

    def fit_of(job: Job, config: Any, rows: Sequence[Any], **computed: Any) -> Fit:  # noqa: ANN401 - as it is called
        args = {name: value for name, value in job.args.items() if name not in CHANGE_NOTHING}
        same = replace(job, folder="", examples="", made="", planted=None, args=args)
        lengths = [len(row.tokens) for row in rows]
        key = json.dumps(
            [asdict(same), config.to_json_string(), type(rows[0]).__name__, lengths, computed], default=str
        )
        if key not in _estimated:
            _estimated[key] = estimate(job, config, rows, **computed)
        return _estimated[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "fit_of", fit_of)
        yield
