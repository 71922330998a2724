"""Holds what the last `make demo` measured against what the project promises; `make verify` runs both."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

REPORT = Path(__file__).resolve().parent.parent / ".tidemill" / "demo" / "report.json"
Report = Mapping[str, Any]

DOCUMENTS = 900
QUESTIONS = 200
MARGIN = 0.01
SECONDS = 14 * 60
FIRST_TOKEN_S = 2.0
VERSION_S, SERVED_S = 10, 5
LEAST_HELD_OUT, LEAST_TRUSTED = 40, 60
TRUSTED_MARGIN = -0.02

PROMISES: dict[str, Callable[[Report], bool]] = {
    "about 1,000 documents are accepted": lambda report: report["documents"]["accepted"] >= DOCUMENTS,
    "every accepted document is searchable": lambda report: (
        report["documents"]["accepted"] == report["documents"]["searchable"]
    ),
    "applying the same loop.yaml again changes nothing": lambda report: report["apply"]["changed_again"] == 0,
    "200 questions are asked of the search": lambda report: report["retrieval"]["questions"] == QUESTIONS,
    "hit@1 is at least bare MiniLM's less 0.01": lambda report: (
        report["retrieval"]["hit_at_1"] >= report["retrieval"]["plain_hit_at_1"] - MARGIN
    ),
    "hit@2 is at least bare MiniLM's less 0.01": lambda report: (
        report["retrieval"]["hit_at_2"] >= report["retrieval"]["plain_hit_at_2"] - MARGIN
    ),
    "answers are asked, and some cite their sources": lambda report: (
        report["answers"]["asked"] >= report["answers"]["with_citation"] > 0
    ),
    "an answer begins within 2 s": lambda report: report["answers"]["first_token_s_median"] <= FIRST_TOKEN_S,
    "every reaction counts": lambda report: report["feedback"]["accepted"] == report["feedback"]["submitted"] > 0,
    "a dataset version follows within 10 s of the rule": lambda report: (
        report["dataset"]["rule_to_version_s"] < VERSION_S
    ),
    "no question or answer is both taught and held out": lambda report: report["dataset"]["overlap"] == 0,
    "at least 40 cases are held out": lambda report: report["dataset"]["held_out"] >= LEAST_HELD_OUT,
    "at least 60 trusted cases are asked": lambda report: report["evaluation"]["trusted_cases"] >= LEAST_TRUSTED,
    "applying loop.yaml after the turn changes nothing": lambda report: report["apply"]["changed_after_the_turn"] == 0,
    "all of it takes 14 minutes at most": lambda report: sum(report["seconds"].values()) <= SECONDS,
}
TAUGHT_WELL: dict[str, Callable[[Report], bool]] = {
    "the candidate is better on held-out cases, by the interval": lambda report: (
        report["evaluation"]["interval"][0] > 0
    ),
    "the candidate is no worse on trusted cases, by the interval": lambda report: (
        report["evaluation"]["trusted_interval"][0] > TRUSTED_MARGIN
    ),
    "the gate lets it through": lambda report: report["evaluation"]["verdict"] == "passed",
    "the promoted model begins to answer within 5 s": lambda report: (
        report["rollout"]["promoted_to_serving_s"] < SERVED_S
    ),
    "the candidate is promoted": lambda report: (
        report["rollout"]["state"] == "promoted" and report["rollout"]["live_model"] == report["model"]["version"]
    ),
}
POISONED: dict[str, Callable[[Report], bool]] = {
    "the gate refuses the poisoned candidate": lambda report: report["evaluation"]["verdict"] == "failed",
    "the report says why": lambda report: len(report["evaluation"]["broken"]) > 0,
    "the baseline stays": lambda report: (
        report["rollout"]["state"] == "none" and report["rollout"]["live_model"] != report["model"]["version"]
    ),
}


def main() -> int:
    """Print each promise and whether it was kept, and return the exit code."""
    if not REPORT.exists():
        sys.stderr.write(f"There is no {REPORT}: run `make demo` first.\n")
        return 1
    report = json.loads(REPORT.read_text("utf-8"))
    if "evaluation" not in report:
        sys.stderr.write("The last demo stopped before the turn of the loop: leave --answers-only out.\n")
        return 1
    promises = PROMISES | (POISONED if report["feedback"]["poisoned"] else TAUGHT_WELL)
    kept = {promise: holds(report) for promise, holds in promises.items()}
    sys.stdout.write("".join(f"{'kept  ' if is_kept else 'BROKEN'}  {promise}\n" for promise, is_kept in kept.items()))
    return 0 if all(kept.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
