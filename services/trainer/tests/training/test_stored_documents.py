"""Documents as earlier versions of trainer wrote them are read, and written again as they were."""

from datetime import timedelta
from typing import Any

from tidemill.trainer.v1 import training_pb2 as pb
from tidemill_kit.store.aggregates import Identity
from tidemill_testkit.clocks import NOON
from tidemill_testkit.mapping import unsent
from tidemill_trainer.training.domain.plan import PlanSettings, RunLimits, TrainingPlan
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.mongo import PLANS, RUNS

LABELS = {"team": "support"}
IDENTITY = Identity(
    id="lora", project="acme", labels=LABELS, version=1, seq=0, create_time=None, update_time=None, deleted=False
)
TRAIN = {"bucket": "datasets", "key": "acme/sft/aa", "size": 12, "sha256": "a" * 64}
DATASET = {"id": "sft@2", "train": TRAIN, "examples": 100}
LIMITS = {"time_s": 180.0, "memory_bytes": 2**31, "memory_auto": True}
CHOICE = {"batch_size": 2, "accumulation_steps": 2, "checkpointing": False}
PLAN: dict[str, Any] = {
    "dataset": "sft",
    "base": "smollm2",
    "method": "sft",
    "lora": {"target_modules": ["q_proj"], "r": 8.0},
    "args": {"max_steps": 4.0},
    "limits": LIMITS,
    "paused": True,
    "owed": DATASET,
}
RUN: dict[str, Any] = {
    "plan": "lora",
    "dataset": DATASET,
    "base": "smollm2@1",
    "recipe": {"method": "sft", "lora": {"r": 8, "target_modules": ["q_proj"]}, "args": {"learning_rate": 0.1}},
    "limits": LIMITS,
    "state": "failed",
    "progress": {"step": 1, "steps": 4, "losses": [{"step": 1, "loss": 1.5}], "remaining_s": 3.0, "seconds": 1.0},
    "reason": "DIVERGED",
    "message": "why",
    "model_version": "",
    "versions": [{"name": "a.b", "version": "1"}, {"name": "torch", "version": "2.13.0"}],
    "attempt": 2,
    "epoch": 3,
    "furthest": 1,
    "fruitless": 0,
    "fit": {"choice": CHOICE, "needed_bytes": 5, "limit_bytes": 9},
    "smaller_than": CHOICE,
    "shrunk": True,
    "examples": {"offered": 3, "fitted": 2, "too_long": 1, "refused": 0, "empty": 0},
    "warnings": ["why"],
    "start_time": NOON,
    "finish_time": NOON,
}


def test_a_plan_is_read_and_written_as_it_was_stored() -> None:
    plan = PLANS.decode(IDENTITY, PLAN, 1)

    assert (plan.labels, plan.settings.labels) == (LABELS, LABELS)
    assert plan.settings.limits == RunLimits(time=timedelta(minutes=3), memory_bytes=2**31, memory_auto=True)
    added: dict[str, Any] = {"authors": [], "rewards": [], "sweep": None, "teacher": "", "processes": 1, "priority": 0}
    added |= {"memorisation": None, "use_peft": True, "added_tokens": []}
    assert PLANS.encode(plan) == PLAN | added
    idle = PLAN | {"owed": None}
    assert PLANS.encode(PLANS.decode(IDENTITY, idle, 1)) == idle | added
    reward = {**dict.fromkeys(("reward_model", "pattern", "json_schema"), ""), "weight": 0.5, "length": None}
    rewards = [{**reward, "rouge_l": True, "citation": False, "judge": {"id": "tone", "max_calls": 9}}]
    written = PLAN | {"authors": ["user:ada"], "rewards": rewards, "teacher": "large@1"}
    space = [{"setting": "lora.r", "range": None, "choices": [4, 8]}]
    pruning = {"keep_percent": 25.0, "startup_trials": 3, "warmup_measurements": 0}
    budget = {"time": 90.0, "cost": 0.0, "price_per_hour": 0.0}
    numbers = {"max_trials": 4, "max_parallel": 1, "held_out": 0.2, "measurements": 5, "seed": 0}
    written |= {
        "processes": 2,
        "priority": 3,
        "use_peft": False,
        "added_tokens": ["heat pump"],
        "memorisation": {"canaries": 5, "repeats": [1, 8], "candidates": 99, "examples": 0, "seed": 3},
        "sweep": {"space": space, "pruning": pruning, "budget": budget, **numbers},
    }
    assert PLANS.encode(PLANS.decode(IDENTITY, written, 1)) == written


def test_a_run_is_read_and_written_as_it_was_stored() -> None:
    run = RUNS.decode(IDENTITY, RUN, 1)

    assert run.recipe.lora["target_modules"] == ("q_proj",)
    of_recipe: dict[str, Any] = {
        "rewards": [],
        "teacher": "",
        "memorisation": None,
        "use_peft": True,
        "added_tokens": [],
    }
    added: dict[str, Any] = {
        "requester": "",
        "authors": [],
        "examples": {**RUN["examples"], "alike": 0},
        "sweep": "",
        "trial": None,
        "processes": 1,
        "priority": 0,
        "preemptions": 0,
        "waiting": {"since": None, "given_by": "", "given_until": None},
        "recipe": {**RUN["recipe"], **of_recipe},
        "base_digest": "",
        "notes": "",
        "source": "",
        "parameters": [],
        "judge": None,
    }
    of_progress: dict[str, Any] = {
        "held_out_losses": [],
        "accuracy": None,
        "memorisation": None,
        "curves": [],
        "peak_memory_bytes": 0,
        "peak_device_memory_bytes": 0,
        "judge_calls": 0,
        "judged_answers": 0,
        "unscored_answers": 0,
    }
    assert RUNS.encode(run) == {**RUN, **added, "progress": {**RUN["progress"], **of_progress}}


def test_a_run_of_an_early_version_is_read_with_defaults() -> None:
    added = {"fit", "smaller_than", "shrunk", "examples", "warnings"}
    early = {name: value for name, value in RUN.items() if name not in added}
    limits = {name: value for name, value in LIMITS.items() if name != "memory_auto"}

    run = RUNS.decode(IDENTITY, early | {"limits": limits}, 1)

    assert (run.fit, run.smaller_than, run.shrunk, run.examples, run.warnings) == (None, None, False, None, ())
    assert not run.limits.memory_auto


def test_what_is_not_sent_is_of_training_itself() -> None:
    assert unsent(pb.TrainingPlan, TrainingPlan, PlanSettings) == {"deferred", "settings"}
    assert unsent(pb.TrainingRun, TrainingRun) == {
        "dataset",
        "epoch",
        "fruitless",
        "furthest",
        "limits",
        "shrunk",
        "smaller_than",
        "requester",
        "waiting",
        "judge",
    }
