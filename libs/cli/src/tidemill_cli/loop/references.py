"""Validation across the sections of a loop: references and consistency."""

import math
from collections.abc import Iterator, Mapping
from datetime import timedelta

from tidemill_cli.loop.declaration import Deployment, Follow, Loop
from tidemill_cli.loop.judges import judge_in
from tidemill_cli.loop.label_rules import rule_problems
from tidemill_cli.loop.learning import LEARNS_FROM, Gate, Training
from tidemill_cli.loop.problems import Document, Problem, matching, nearest
from tidemill_cli.loop.rolling import Rollout

_STEP_LASTS = timedelta(hours=24)
"""At most, where a step of a rollout does not say."""
_REFERENCES: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("collections", "*", "sources", "*"): ("sources",),
    ("collections", "*", "embedding"): ("models",),
    ("collections", "*", "search", "rerank", "model"): ("models",),
    ("deployments", "*", "model"): ("models", "training", "derived"),
    ("deployments", "*", "model", "follow"): ("training", "derived"),
    ("deployments", "*", "model", "start_with"): ("models",),
    ("deployments", "*", "prompt"): ("prompts",),
    ("deployments", "*", "prompt", "name"): ("prompts",),
    ("deployments", "*", "fallback", "*"): ("models",),
    ("deployments", "*", "routing", "equal_models", "*"): ("models",),
    ("deployments", "*", "retrieval", "collection"): ("collections",),
    ("deployments", "*", "retrieval", "other_collections", "*"): ("collections",),
    ("deployments", "*", "retrieval", "rewrite"): ("models", "training", "derived"),
    ("deployments", "*", "cache", "semantic", "embedding"): ("models",),
    ("deployments", "*", "examples", "dataset"): ("datasets",),
    ("deployments", "*", "examples", "embedding"): ("models",),
    ("deployments", "*", "conversation", "summary_model"): ("models", "training", "derived"),
    ("deployments", "*", "conversation", "memory_model"): ("models", "training", "derived"),
    ("prices", "*", "model"): ("models", "training", "derived"),
    ("budgets", "*", "deployment"): ("deployments",),
    ("reviews", "*", "sampling", "deployment"): ("deployments",),
    ("datasets", "*", "examples", "deployment"): ("deployments",),
    ("training", "*", "dataset"): ("datasets",),
    ("training", "*", "base"): ("models", "derived"),
    ("training", "*", "teacher"): ("models", "training", "derived"),
    ("training", "*", "rewards", "*", "reward_model"): ("training",),
    ("training", "*", "rewards", "*", "judge", "id"): ("judges",),
    ("derived", "*", "source"): ("training", "models", "derived"),
    ("judges", "*", "deployment"): ("deployments",),
    ("judges", "*", "members", "*"): ("judges",),
    ("gates", "*", "candidate"): ("training", "derived"),
    ("gates", "*", "collection"): ("collections",),
    ("gates", "*", "candidate_prompt"): ("prompts",),
    ("gates", "*", "deployment"): ("deployments",),
    ("gates", "*", "require", "*", "cases", "suite"): ("suites",),
    ("gates", "*", "require", "*", "cases", "dataset"): ("datasets",),
    ("rollouts", "*", "deployment"): ("deployments",),
    ("rollouts", "*", "gate"): ("gates",),
    ("rollouts", "*", "index_gate"): ("gates",),
    ("rollouts", "*", "prompt_gate"): ("gates",),
    ("rollouts", "*", "abort", "metrics", "*"): ("metrics",),
    ("experiments", "*", "deployment"): ("deployments",),
    ("experiments", "*", "arms", "*", "model"): ("models", "training", "derived"),
    ("experiments", "*", "arms", "*", "prompt"): ("prompts",),
    ("experiments", "*", "arms", "*", "retrieval", "collection"): ("collections",),
}
"""The sections that the name in a field refers to. A name with a project is of another one, which shares it."""
_NAMED_BY_KEY = {
    ("deployments", "*", "routing", "equal_models", "*"),
    ("rollouts", "*", "abort", "metrics", "*"),
}
"""Where the name is the key, not the value."""


def reference_problems(document: Document) -> Iterator[Problem]:
    """Yield references to undeclared names."""
    for pattern, sections in _REFERENCES.items():
        declared = [document.root.get(section) for section in sections]
        names = [str(name) for section in declared if isinstance(section, Mapping) for name in section]
        for path, value in matching(document.root, pattern):
            named = path[-1] if pattern in _NAMED_BY_KEY else value
            if isinstance(named, str) and "/" not in named and named.split("@")[0] not in names:
                hint = nearest(named.split("@")[0], names)
                noun = sections[0].removesuffix("s")
                yield document.problem(path, f"there is no {noun} {named!r} in this file{hint}")


def turn_problems(document: Document, loop: Loop) -> Iterator[Problem]:
    """Yield inconsistencies between training, suites, gates and rollouts."""
    yield from _name_problems(document, loop)
    yield from _kind_problems(document, loop)
    yield from _reward_problems(document, loop)
    yield from _exposure_problems(document, loop)
    yield from _suite_problems(document, loop)
    yield from _gate_problems(document, loop)
    yield from _rollout_problems(document, loop)
    yield from _unmoved_prompts(document, loop)
    yield from rule_problems(document, {name: each.labels for name, each in loop.datasets.items()}, loop.reviews)


def gate_deployments(loop: Loop, gate: str) -> list[str]:
    """Return the deployments that a gate or the rollouts that name it name, else those its candidates would answer for.

    A valid file has exactly one; this returns all that the file has.
    """
    named = {rollout.deployment for rollout in loop.rollouts.values() if gate in rollout.gates}
    if own := loop.gates[gate].deployment:
        named.add(own)
    following = {name for name, deployment in loop.deployments.items() if _follows(deployment, loop.gates[gate])}
    return sorted(named or following)


def _follows(deployment: Deployment, gate: Gate) -> bool:
    """Return whether a new version of the gate's model or prompt, or of its collection's index, would answer for it."""
    if gate.candidate_prompt:
        return deployment.followed_prompt == gate.candidate_prompt
    if gate.collection:
        retrieval = deployment.retrieval
        return retrieval is not None and retrieval.collection == gate.collection and retrieval.index is None
    return isinstance(deployment.model, Follow) and deployment.model.follow == gate.candidate


def _name_problems(document: Document, loop: Loop) -> Iterator[Problem]:
    """Yield names of two sections that both would register versions under."""
    for name in loop.training:
        if name in loop.models:
            yield document.problem(
                ("training", name),
                "is the name of a model as well: rename it, since a training registers versions under its name",
            )
    for name in loop.derived:
        if name in loop.models or name in loop.training:
            message = "is the name of a model or training as well: rename it, since it is judged by a gate of its own"
            yield document.problem(("derived", name), message)


def _kind_problems(document: Document, loop: Loop) -> Iterator[Problem]:
    """Yield trainings whose method does not learn from what their dataset has."""
    for name, training in loop.training.items():
        dataset, learns = loop.datasets.get(training.dataset), LEARNS_FROM[training.method]
        if dataset is not None and dataset.examples.kind not in learns:
            message = (
                f"{training.method} learns from examples of kind {' or '.join(learns)}, and {training.dataset} has "
                f"kind {dataset.examples.kind}: change one of them"
            )
            yield document.problem(("training", name, "method"), message)


def _reward_problems(document: Document, loop: Loop) -> Iterator[Problem]:
    """Yield reward models where a model has to answer."""
    rewards = {name for name, training in loop.training.items() if training.method == "reward"}
    for pattern, sections in _REFERENCES.items():
        if "training" not in sections or pattern[-1] == "reward_model":
            continue
        for path, value in matching(document.root, pattern):
            if isinstance(value, str) and value.split("@")[0] in rewards:
                yield document.problem(path, f"{value} is a reward model: it scores answers and generates none")


def _exposure_problems(document: Document, loop: Loop) -> Iterator[Problem]:
    """Yield gates that ask for an exposure that nothing measures."""
    for name, gate in loop.gates.items():
        if not gate.max_exposure:
            continue
        training = loop.training.get(gate.candidate or "")
        planted = training.memorisation if training else None
        if planted is None:
            message = (
                f"{gate.candidate} has no exposure, so that the gate would never hold: give its training memorisation, "
                "which plants canaries"
            )
            yield document.problem(("gates", name, "max_exposure"), message)
        elif gate.max_exposure >= (most := math.log2(planted.candidates + 1)):
            message = (
                f"is {gate.max_exposure:g} bits, and {planted.candidates} candidates can show {most:.2f} at most, so "
                f"that the gate would always hold: use less, or more candidates in the memorisation of {gate.candidate}"
            )
            yield document.problem(("gates", name, "max_exposure"), message)


def _suite_problems(document: Document, loop: Loop) -> Iterator[Problem]:
    for name, suite in loop.suites.items():
        seen: set[str] = set()
        for index, case in enumerate(suite.cases if isinstance(suite.cases, list) else []):
            if case.id in seen:
                yield document.problem(("suites", name, "cases", index, "id"), f"duplicate id {case.id!r}")
            seen.add(case.id)


def _gate_problems(document: Document, loop: Loop) -> Iterator[Problem]:
    for name, gate in loop.gates.items():
        if gate.candidate and gate.candidate not in {*loop.training, *loop.derived}:
            continue
        training = _training_of(loop, gate.candidate or "")
        collection = loop.collections.get(gate.collection or "")
        if collection is not None and collection.go_live != "by_rollout":
            message = (
                f"{gate.collection} goes live without this gate: a new index version answers when it is complete; "
                "add go_live: by_rollout to it"
            )
            yield document.problem(("gates", name, "collection"), message)
        for index, requirement in enumerate(gate.require):
            if (judge := judge_in(requirement.metric)) and judge not in loop.judges:
                message = f"there is no judge {judge!r} in this file{nearest(judge, [*loop.judges])}"
                yield document.problem(("gates", name, "require", index, "metric"), message)
            if training and requirement.cases.dataset not in {None, training.dataset}:
                message = f"must be {training.dataset}, which {gate.candidate} is trained on"
                yield document.problem(("gates", name, "require", index, "cases", "dataset"), message)
            elif gate.candidate and training is None and requirement.cases.dataset:
                message = f"no training of this file makes what {gate.candidate} is derived from: use a suite"
                yield document.problem(("gates", name, "require", index, "cases", "dataset"), message)
        deployments = gate_deployments(loop, name)
        if len(deployments) != 1:
            yield document.problem(("gates", name), _gate_without_deployment(gate, deployments))
        compared = loop.deployments.get(gate.deployment or "")
        if gate.reevaluate and compared and not _follows(compared, gate):
            message = (
                f"{gate.deployment} does not follow {gate.candidate}, so that none of it is ever live: leave it out"
            )
            yield document.problem(("gates", name, "reevaluate"), message)


def _training_of(loop: Loop, name: str) -> Training | None:
    """Return the training of a model, or of what it is derived from."""
    seen: set[str] = set()
    while name in loop.derived and name not in seen:
        seen.add(name)
        name = loop.derived[name].source
    return loop.training.get(name)


def _gate_without_deployment(gate: Gate, deployments: list[str]) -> str:
    if deployments:
        return f"applies to several deployments ({', '.join(deployments)}): declare one gate for each"
    if gate.candidate_prompt:
        return (
            f"has no deployment: let one answer by {gate.candidate_prompt} "
            f"(prompt: {{name: {gate.candidate_prompt}, go_live: by_rollout}})"
        )
    if gate.collection:
        return f"has no deployment: let one search {gate.collection}, without an index (retrieval: {{collection: ...}})"
    return (
        "has no deployment: use this gate in a rollout, let a deployment follow its candidate "
        f"(model: {{follow: {gate.candidate}, start_with: MODEL}}), or name the one whose live model is the baseline "
        "(deployment: NAME)"
    )


def _rollout_problems(document: Document, loop: Loop) -> Iterator[Problem]:
    taken: dict[str, str] = {}
    for name, rollout in loop.rollouts.items():
        deployment, gate = loop.deployments.get(rollout.deployment), loop.gates.get(rollout.gate or "")
        if rollout.deployment in taken:
            message = f"{rollout.deployment} already has a rollout: {taken[rollout.deployment]}"
            yield document.problem(("rollouts", name, "deployment"), message)
        taken.setdefault(rollout.deployment, name)
        yield from _metric_problems(document, loop, name)
        if deployment is None:
            continue
        yield from _index_gate_problems(document, loop, name)
        yield from _prompt_gate_problems(document, loop, name)
        if gate is None:
            if not rollout.gate and isinstance(deployment.model, Follow):
                message = f"new versions of {deployment.model.follow} go live by this rollout: add gate: GATE to it"
                yield document.problem(("rollouts", name), message)
            continue
        if not gate.candidate:
            kind, field = ("prompts", "prompt_gate") if gate.candidate_prompt else ("index versions", "index_gate")
            message = f"{rollout.gate} is of {kind} of {gate.follows}: use it as {field}"
            yield document.problem(("rollouts", name, "gate"), message)
            continue
        model = deployment.model
        if not isinstance(model, Follow):
            message = (
                f"cannot be changed by a rollout of {gate.candidate}: "
                f"use {{follow: {gate.candidate}, start_with: {model}}}"
            )
            yield document.problem(("deployments", rollout.deployment, "model"), message)
        elif model.follow != gate.candidate:
            message = f"{rollout.deployment} follows {model.follow}, but the candidate of this gate is {gate.candidate}"
            yield document.problem(("rollouts", name, "gate"), message)


def _index_gate_problems(document: Document, loop: Loop, name: str) -> Iterator[Problem]:
    """Yield an index gate that could not move what the deployment searches."""
    rollout = loop.rollouts[name]
    gate = loop.gates.get(rollout.index_gate or "")
    if gate is None:
        return
    where = ("rollouts", name, "index_gate")
    if not gate.collection:
        yield document.problem(where, f"{rollout.index_gate} is a gate of {gate.follows}: name one of a collection")
    elif not _follows(loop.deployments[rollout.deployment], gate):
        message = f"{rollout.deployment} has to search {gate.collection}, without an index"
        yield document.problem(where, message)


def _prompt_gate_problems(document: Document, loop: Loop, name: str) -> Iterator[Problem]:
    """Yield a prompt gate that could not move the deployment's prompt, and a prompt that no gate moves."""
    rollout = loop.rollouts[name]
    deployment, gate = loop.deployments[rollout.deployment], loop.gates.get(rollout.prompt_gate or "")
    if deployment.followed_prompt and not rollout.prompt_gate:
        message = f"new versions of {deployment.followed_prompt} go live by this rollout: add prompt_gate: GATE to it"
        yield document.problem(("rollouts", name), message)
    if gate is None:
        return
    where = ("rollouts", name, "prompt_gate")
    if not gate.candidate_prompt:
        yield document.problem(where, f"{rollout.prompt_gate} is a gate of {gate.follows}: name one of a prompt")
    elif not _follows(deployment, gate):
        message = (
            f"{rollout.deployment} has to answer by {gate.candidate_prompt}, going live by rollout: "
            f"prompt: {{name: {gate.candidate_prompt}, go_live: by_rollout}}"
        )
        yield document.problem(where, message)


def _unmoved_prompts(document: Document, loop: Loop) -> Iterator[Problem]:
    """Yield the deployments whose prompt no rollout could move."""
    rolled = {rollout.deployment for rollout in loop.rollouts.values()}
    for name, deployment in loop.deployments.items():
        if {"@", "/"} & {*deployment.followed_prompt}:
            message = "by_rollout moves the version: name a prompt of this file without one"
            yield document.problem(("deployments", name, "prompt", "name"), message)
        elif deployment.followed_prompt and name not in rolled:
            message = f"new versions of {deployment.followed_prompt} never answer: declare a rollout with a prompt_gate"
            yield document.problem(("deployments", name, "prompt"), message)


def _metric_problems(document: Document, loop: Loop, name: str) -> Iterator[Problem]:
    """Yield the metrics by which no answers can be compared."""
    for metric in loop.rollouts[name].abort.metrics:
        declared = loop.metrics.get(metric)
        if declared is None:
            continue
        where = ("rollouts", name, "abort", "metrics", metric)
        if declared.level == "conversation":
            yield document.problem(where, f"{metric} is about conversations, and a rollout compares answers")
        elif declared.optimise == "none" and not declared.good:
            better = "good: [CHOICE]" if declared.kind == "category" else "optimise: max or min"
            yield document.problem(where, f"no value of {metric} is better than another: say {better} where it is")
        elif problem := _maturity_problem(loop.rollouts[name], metric, declared.matures_after):
            yield document.problem(where, problem)


def _maturity_problem(rollout: Rollout, metric: str, matures_after: timedelta | None) -> str:
    """Return why steps end before the values of a metric count, "" where they wait for them."""
    if matures_after is None:
        return ""
    if not rollout.abort.metrics[metric].at_least:
        return f"{metric} matures after {matures_after}, and no step waits for its values: set at_least"
    for number, step in enumerate(rollout.steps):
        if not step.shadow and (step.at_most or _STEP_LASTS) <= matures_after:
            text = f"{metric} matures after {matures_after}, and step {number} ends before that"
            return f"{text}: its at_most is {step.at_most or _STEP_LASTS}, make it longer"
    return ""
