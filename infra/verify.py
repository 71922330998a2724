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
SECONDS = 240
FIRST_TOKEN_S = 2.0

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
    "all of it takes 4 minutes at most": lambda report: sum(report["seconds"].values()) <= SECONDS,
}


def main() -> int:
    """Print each promise and whether it was kept, and return the exit code."""
    if not REPORT.exists():
        sys.stderr.write(f"There is no {REPORT}: run `make demo` first.\n")
        return 1
    report = json.loads(REPORT.read_text("utf-8"))
    kept = {promise: holds(report) for promise, holds in PROMISES.items()}
    sys.stdout.write("".join(f"{'kept  ' if is_kept else 'BROKEN'}  {promise}\n" for promise, is_kept in kept.items()))
    return 0 if all(kept.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
