"""Runs the demo and holds what it measured against what the project promises.

`make verify` runs the whole turn as this processor computes and, where that is bfloat16, once more in float32 with
kernels held to AVX2, which stands for a weaker one. Then it holds the real vLLM to the contract of engines, turns a
short loop on it, runs garak and lm-evaluation-harness against a deployment, and judges of a scripted provider, proves
over every RPC what tests prove with fewer requests, runs the tests marked `long`, and clients that others wrote, which
are installed for it.
Arguments go to the demo: `make verify ARGS=--poisoned`, or `ARGS=--deep`, which is held to promises of its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tidemill_testkit.weaker_processor import WEAKER

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / ".tidemill" / "demo" / "report.json"
TIDEMILL = Path(sys.executable).with_name("tidemill")
OF_VLLM = (
    "services/inference/tests/engines/contract/test_vllm_contract.py",
    "services/inference/tests/process/test_vllm_rollout.py",
    "tests/system/test_turn_on_vllm.py",
)
OF_HARNESSES = ("tests/system/test_harnesses.py",)
OF_JUDGES = ("tests/system/test_judges.py",)
PROOFS = (
    *(f"tests/system/test_{name}.py" for name in ("two_projects", "generated_requests", "paths", "when_killed")),
    "services/ingest/tests/parsing/test_hostile_files.py",
)
WHOLE = {"TIDEMILL_GENERATED_CASES": "1000", "TIDEMILL_PROBES": "5500", "TIDEMILL_KILLS": "2"}
"""How much of the proofs is run here; the tests run a part."""
Report = Mapping[str, Any]

DOCUMENTS = 900
OFFICE_FILES, OFFICE_DOCUMENTS = 6, 9
OFFICE_STEPS, OFFICE_S = ("office", "office_answers", "profile", "tuned_retrieval"), 60
PROFILED = 3
QUESTIONS = 200
MARGIN = 0.01
SECONDS = {"bfloat16": 14 * 60, "float32": 20 * 60}
MEMORY_MB = 12_000
FIRST_TOKEN_S = 2.0
VERSION_S, SERVED_S = 10, 5
MIN_HELD_OUT, MIN_TRUSTED = 40, 60
MIN_PAIRS, MIN_THUMBS, CHOICES_S = 14, 40, 40
DEEP_STEPS = ("hold", "pairs", "sweep", "met_the_gate", "preferred_training", "preferred_evaluation")
DEEP_S = 15 * 60
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
    "each file of a folder is a document, refused or skipped with a reason": lambda report: (
        report["office"]["documents"] == OFFICE_DOCUMENTS
        and report["office"]["refused"] + report["office"]["skipped"] == report["office"]["files"] - OFFICE_FILES
    ),
    "each question about the folder has its page, slide, sheet or row first": lambda report: (
        report["office"]["at_their_place"] == report["office"]["asked"] > 0
    ),
    "each source has a profile to open in a browser": lambda report: (
        report["profile"]["state"] == "completed" and len(report["profile"]["pages"]) == PROFILED
    ),
    "tuned retrieval finds what plain vectors find, or more": lambda report: (
        report["tuned_retrieval"]["ndcg"] >= report["tuned_retrieval"]["plain_ndcg"] - MARGIN
    ),
    "the folder, the profiles and the tuning take 60 s at most where bfloat16 is": lambda report: (
        report["machine"]["numeric_format"] != "bfloat16"
        or sum(report["seconds"][step] for step in OFFICE_STEPS) <= OFFICE_S
    ),
    "answers are asked, and some cite their sources": lambda report: (
        report["answers"]["asked"] >= report["answers"]["with_citation"] > 0
    ),
    "an answer begins within 2 s": lambda report: report["answers"]["first_token_s_median"] <= FIRST_TOKEN_S,
    "every reaction counts": lambda report: report["feedback"]["accepted"] == report["feedback"]["submitted"] > 0,
    "a dataset version follows within 10 s of the rule": lambda report: (
        report["dataset"]["rule_to_version_s"] < VERSION_S
    ),
    "users choose between two answers": lambda report: report["choices"]["chosen"] > 0,
    "pairs follow where users choose as often as the rule asks": lambda report: (
        report["choices"]["chosen"] < report["choices"]["needed"] or report["choices"]["examples"] >= MIN_PAIRS
    ),
    "asking twice takes 40 s at most where bfloat16 is": lambda report: (
        report["machine"]["numeric_format"] != "bfloat16" or report["seconds"]["choices"] <= CHOICES_S
    ),
    "no question or answer is both taught and held out": lambda report: report["dataset"]["overlap"] == 0,
    "at least 40 cases are held out": lambda report: report["dataset"]["held_out"] >= MIN_HELD_OUT,
    "at least 60 trusted cases are asked": lambda report: report["evaluation"]["trusted_cases"] >= MIN_TRUSTED,
    "what must not get worse is compared beside the gain": lambda report: report["safety"]["state"] == "completed",
    "applying loop.yaml after the turn changes nothing": lambda report: report["apply"]["changed_after_the_turn"] == 0,
    "all of it takes 14 minutes at most, 20 in float32": lambda report: (
        sum(report["seconds"].values()) - _deep_s(report) <= SECONDS[report["machine"]["numeric_format"]]
    ),
    "everything together takes 12 GB of memory at most": lambda report: (
        sum(report["peak_rss_mb"].values()) <= MEMORY_MB
    ),
}
TAUGHT_WELL: dict[str, Callable[[Report], bool]] = {
    "thumbs become examples": lambda report: report["thumbs"]["examples"] >= MIN_THUMBS,
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
DEEP: dict[str, Callable[[Report], bool]] = {
    "each trial of the sweep came to its end, or ended early": lambda report: (
        report["sweep"]["measured"] + report["sweep"]["pruned"] == report["sweep"]["trials"] > 0
    ),
    "a trial is better than the settings as they were, or one ends early": lambda report: (
        report["sweep"]["winner_loss"] < report["sweep"]["own_settings_loss"] or report["sweep"]["pruned"] > 0
    ),
    "of the sweep, the winner alone meets the gate": lambda report: (
        report["sweep"]["met_the_gate"] == [report["model"]["version"]] == [report["sweep"]["model_version"]]
    ),
    "pairs of corrections are trained on, not those of choices alone": lambda report: (
        report["preferred"]["pairs"] > report["choices"]["chosen"]
    ),
    "what learned from pairs is compared with what is live, by an interval": lambda report: (
        report["preferred"]["live_model"] == report["rollout"]["live_model"]
        and report["preferred"]["cases"] >= MIN_TRUSTED
        and report["preferred"]["interval"][0]
        <= report["preferred"]["difference"]
        <= report["preferred"]["interval"][1]
    ),
    "learning in depth takes 15 minutes more at most where bfloat16 is": lambda report: (
        report["machine"]["numeric_format"] != "bfloat16" or _deep_s(report) <= DEEP_S
    ),
}


def _deep_s(report: Report) -> float:
    """Return how long the steps took that `--deep` adds; 0 without it."""
    seconds: Mapping[str, float] = report["seconds"]
    return sum(seconds.get(step, 0.0) for step in DEEP_STEPS)


def main() -> int:
    """Run the demo in each environment, print each promise and whether it was kept, and return the exit code."""
    kept = True
    environments: tuple[dict[str, str], ...] = ({}, WEAKER)
    for number, environment in enumerate(environments):
        if number and json.loads(REPORT.read_text("utf-8"))["machine"]["numeric_format"] == "float32":
            break  # the first run was the weaker one
        say(f"--- {' '.join(f'{name}={value}' for name, value in environment.items()) or 'as this processor computes'}")
        # Services keep the environment that they were started in.
        if any(tidemill(environment, *command) for command in (["down"], ["demo", *sys.argv[1:]])):
            return 1
        kept = judge(json.loads(REPORT.read_text("utf-8"))) and kept
    return 0 if all([serves_by_vllm(), harnesses(), judges(), clients(), proven(), long_tests(), kept]) else 1


def clients() -> bool:
    """Run LangChain's client, and OpenAI's for Node, against the HTTP API."""
    say("--- clients that others wrote")
    command = [sys.executable, "-m", "tests.clients"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0  # noqa: S603 - ours


def serves_by_vllm() -> bool:
    """Hold the real vLLM to the contract of engines, roll an adapter out on it, and turn a short loop.

    Where `make setup ENGINE=vllm` can install it.
    """
    say("--- the contract of engines, kept by vLLM, a rollout and a short loop on it")
    if subprocess.run([sys.executable, "infra/setup.py", "vllm"], cwd=ROOT, check=False).returncode:
        return False
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", *OF_VLLM]
    return subprocess.run(command, env=os.environ | {"TIDEMILL_VLLM": "1"}, cwd=ROOT, check=False).returncode == 0  # noqa: S603 - ours


def harnesses() -> bool:
    """Run garak and lm-evaluation-harness against a deployment of the example's model, a few questions of each."""
    say("--- garak and lm-evaluation-harness against a deployment")
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:xdist", *OF_HARNESSES]
    return subprocess.run(command, env=os.environ | {"TIDEMILL_HARNESSES": "1"}, cwd=ROOT, check=False).returncode == 0  # noqa: S603 - ours


def judges() -> bool:
    """Run a jury, and judges that fail in each way, behind a scripted provider, which then changes its model."""
    say("--- judges of a scripted provider")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", *OF_JUDGES]
    return subprocess.run(command, env=os.environ | {"TIDEMILL_JUDGES": "1"}, cwd=ROOT, check=False).returncode == 0  # noqa: S603 - ours


def proven() -> bool:
    """Send every RPC generated requests, and what belongs to another project, on a stack of its own."""
    say("--- 1,000 generated requests of every RPC, and 11,000 probes of one project by another")
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:xdist", "--timeout=7200", *PROOFS]
    return subprocess.run(command, env=os.environ | WHOLE, cwd=ROOT, check=False).returncode == 0  # noqa: S603 - ours


def long_tests() -> bool:
    """Run what `make test` leaves to this."""
    say("--- the tests that take long")
    command = [sys.executable, "infra/checks.py", "long"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0  # noqa: S603 - ours


def tidemill(environment: Mapping[str, str], *arguments: str) -> int:
    """Run the command and return its exit code."""
    done = subprocess.run([str(TIDEMILL), *arguments], env=os.environ | environment, cwd=ROOT, check=False)  # noqa: S603 - our own command
    return done.returncode


def judge(report: Report) -> bool:
    """Print each promise and whether it was kept, and return whether all were."""
    if "evaluation" not in report:
        say("The demo stopped before the turn of the loop: leave --answers-only out.")
        return False
    promises = PROMISES | (POISONED if report["feedback"]["poisoned"] else TAUGHT_WELL)
    promises |= DEEP if "sweep" in report else {}
    kept = {promise: _holds(promised, report) for promise, promised in promises.items()}
    say("\n".join(f"{'kept  ' if is_kept else 'BROKEN'}  {promise}" for promise, is_kept in kept.items()))
    machine, seconds = report["machine"], sum(report["seconds"].values())
    say(f"{machine['processor']}, {machine['numeric_format']}: {seconds:.0f} s")
    return all(kept.values())


def _holds(promised: Callable[[Report], bool], report: Report) -> bool:
    """Return whether a promise was kept; one whose figures the report lacks, since a step had no result, was not."""
    try:
        return promised(report)
    except (LookupError, TypeError):
        return False


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
