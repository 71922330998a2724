"""`python -m tidemill_trainer.learning <job.json>`."""

import os
import sys
from pathlib import Path
from queue import SimpleQueue

from tidemill_core.errors import isolated
from tidemill_trainer.learning.failures import stopped_by
from tidemill_trainer.learning.imports import without_collections
from tidemill_trainer.learning.job import Job
from tidemill_trainer.learning.lifeline import die_with_parent
from tidemill_trainer.learning.reports import Reports


def main() -> None:
    """Train and report the result; exit status 0 means that everything was reported.

    One of several ranks exits at once, without waiting for the threads of torch.distributed. Where it failed it exits
    with 1: torchrun, or rank 0, ends the others by that.
    """
    answers = SimpleQueue[str]()
    holds_input = "TORCHELASTIC_RUN_ID" not in os.environ  # torchrun holds none of its ranks' inputs
    die_with_parent(holds_input=holds_input, received=answers.put)
    reports = Reports(answers.get)
    try:
        with isolated():
            with without_collections():
                from tidemill_trainer.learning.training import train  # noqa: PLC0415 - seconds, after the lifeline

            train(Job.read(Path(sys.argv[1])), reports)
    except Exception as error:  # noqa: BLE001 - the worker is told; what standard error says is not kept
        stopped = stopped_by(error)
        reports.report("failed", reason=stopped.reason, message=stopped.message)
        if "RANK" in os.environ:
            os._exit(1)
        return
    reports.report("done")
    if "RANK" in os.environ:
        os._exit(0)


if __name__ == "__main__":
    main()
