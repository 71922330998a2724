"""`python -m tidemill_trainer.deriving <job.json>`."""

import sys
from pathlib import Path

from tidemill_core.errors import isolated
from tidemill_trainer.deriving.job import Job
from tidemill_trainer.learning.failures import stopped_by
from tidemill_trainer.learning.imports import without_collections
from tidemill_trainer.learning.lifeline import die_with_parent
from tidemill_trainer.learning.reports import Reports


def main() -> None:
    """Derive and report the result; exit status 0 means that everything was reported."""
    die_with_parent()
    reports = Reports()
    try:
        with isolated():
            with without_collections():
                from tidemill_trainer.deriving.weights import derive  # noqa: PLC0415 - seconds, after the lifeline

            facts = derive(Job.read(Path(sys.argv[1])))
    except Exception as error:  # noqa: BLE001 - it is reported to the worker; standard error is not kept
        stopped = stopped_by(error, smaller="derive from a smaller model")
        reports.report("failed", reason=stopped.reason, message=stopped.message)
        return
    reports.report("done", facts=facts)


if __name__ == "__main__":
    main()
