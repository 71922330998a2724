"""A fake training process without libraries; the recipe's seed selects its behaviour."""

import os
import subprocess
import sys
import time
from pathlib import Path
from queue import SimpleQueue

from tidemill_trainer.learning.job import Job
from tidemill_trainer.learning.lifeline import die_with_parent
from tidemill_trainer.learning.reports import Reports

SUCCEEDS, HANGS, GROWS, BREAKS, SAYS_WHY, CHATTERS, SAVES, COMPUTES, FITS, STARTS, ASKS, WAITS = range(12)
FAILURES = {SAYS_WHY: ("DIVERGED", "the loss is nan"), WAITS: ("DISK_FULL", "free some")}
STARTED_BYTES = 400 * 1024**2
"""What a process that it starts takes."""


def main() -> None:
    answers = SimpleQueue[str]()
    die_with_parent(received=answers.put)
    reports = Reports(answers.get)
    job = Job.read(Path(sys.argv[1]))
    what = job.args["seed"]
    if what == FITS:
        choice = {"batch_size": 1, "accumulation_steps": 1, "checkpointing": False}
        fit = {"choice": choice, "needed_bytes": 1, "limit_bytes": job.memory_bytes}
        reports.report("fitted", fit=fit, examples={"offered": 3, "fitted": 2, "too_long": 1})
    versions = {"torch": "2"}
    if what == COMPUTES:
        versions = {"format": job.numeric_format, "kernels": os.environ.get("ATEN_CPU_CAPABILITY", "")}
        versions["gpus"] = f"{job.device} " + os.environ.get("CUDA_VISIBLE_DEVICES", "")
    curves = [{"name": "grad_norm", "steps": [1], "values": [3.0]}] if what == SUCCEEDS else []
    reports.report("begun", step=0, steps=2, versions=versions, losses=[], curves=curves)
    if what == CHATTERS:
        print("a library's own words")  # noqa: T201 - they must not reach the worker
    more = {"numbers": {"grad_norm": 2.0}, "device_memory_bytes": 5} if what == SUCCEEDS else {}
    reports.report("step", step=1, steps=2, loss=2.5, remaining_s=1.0, **more)
    _measure(job, reports)
    if what == BREAKS:
        raise SystemExit(3)
    if what in FAILURES:
        reason, message = FAILURES[what]
        reports.report("failed", reason=reason, message=message)
        return
    if what == SAVES:
        reports.report("step", step=2, steps=2, loss=2.0, remaining_s=0.0)
        time.sleep(6)
    if what == STARTS:
        code = f"kept = bytearray({STARTED_BYTES}); input()"
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)  # noqa: S603 - our own interpreter
    kept = []
    while what in {HANGS, GROWS, STARTS}:
        if what == GROWS:
            kept.append(bytearray(32 * 1024**2))
        time.sleep(0.01)
    reports.report("done")


def _measure(job: Job, reports: Reports) -> None:
    for answer in ("a", "b") if job.args["seed"] == ASKS else ():
        answers = [{"asked": [{"role": "user", "content": "Why?"}], "answer": answer, "reference": "c"}]
        (score,) = reports.ask("judge", answers=answers)["scores"]
        reports.report("step", step=1, steps=2, loss=-1.0 if score is None else score, remaining_s=1.0)
    if job.held_out:
        reports.report("measured", at=1, loss=job.held_out.share)
    if job.planted:
        ((_, repeats),) = job.planted.canaries
        figures = {"exposure": 2.0, "found_alone": 0, "exposure_alone": 1.0, "exposure_of_base": job.measure_s}
        group = {"repeats": repeats, "canaries": 1, "found": job.planted.origin == "here", **figures}
        reports.report("memorised", candidates=job.planted.check.candidates, planted=2, groups=[group], extraction=None)
    if job.held_out_examples:
        bounds = job.rewards[1].length
        teachers = bool(job.teacher and job.teacher.base and not job.teacher.adapter)
        reports.report(
            "scored", pairs=bounds.max_characters if bounds else 0, correct=len(job.reward_models) + teachers
        )


main()
