"""A fake deriving process without libraries; the job's bits select its behaviour."""

import os
import sys
import time
from pathlib import Path

from tidemill_trainer.deriving.job import Job
from tidemill_trainer.learning.lifeline import die_with_parent
from tidemill_trainer.learning.reports import Reports

SUCCEEDS, HANGS, GROWS, BREAKS, SAYS_WHY = range(5)


def main() -> None:
    die_with_parent()
    reports = Reports()
    job = Job.read(Path(sys.argv[1]))
    begun = Path(job.made).with_name("begun.partial")
    begun.write_text(str(os.getpid()))
    begun.rename(begun.with_suffix(""))
    if job.bits == BREAKS:
        raise SystemExit(3)
    if job.bits == SAYS_WHY:
        reports.report("failed", reason="NOT_FINITE", message="a weight is nan")
        return
    kept = []
    while job.bits in {HANGS, GROWS}:
        if job.bits == GROWS:
            kept.append(bytearray(32 * 1024**2))
        time.sleep(0.01)
    secrets = sum(name.startswith("TRAINER_") for name in os.environ)
    reports.report("done", facts={"torch": "2", "secrets": secrets})


main()
