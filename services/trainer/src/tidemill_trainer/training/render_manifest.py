"""Renders a training on several machines as Kubernetes objects, which an operator of a cluster applies."""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import refuse
from tidemill_trainer.cluster.spec import ClusterSpec
from tidemill_trainer.learning.job import recipe_fields
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.training.check_plan import CheckPlan
from tidemill_trainer.training.current_limits import current_limits
from tidemill_trainer.training.domain.cluster import Cluster
from tidemill_trainer.training.domain.kubernetes import objects_of
from tidemill_trainer.training.domain.plan import DatasetVersion, RunLimits
from tidemill_trainer.training.domain.recipe import Recipe
from tidemill_trainer.training.domain.run import RunState
from tidemill_trainer.training.ports import Datasets, Plans, Runs

MAX_SPEC_BYTES = 900_000
"""A ConfigMap has at most 1 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDefaults:
    """What the service is set to."""

    image: str
    max_processes: int
    memory_bytes: int
    min_examples: int
    checkpoint_steps: int
    numeric_format: Literal["auto", "bfloat16", "float32"]
    rank_timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSource:
    """What is trained: a run, or a plan and a version of its dataset, "" being the newest."""

    run: str = ""
    plan: str = ""
    dataset_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Training:
    label: str
    base: ModelVersion
    recipe: Recipe
    limits: RunLimits
    dataset: DatasetVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderManifest:
    """Stores and starts nothing. The same training by as many processes has the same name, and goes on where it was."""

    plans: Plans
    runs: Runs
    datasets: Datasets
    check: CheckPlan
    defaults: ClusterDefaults

    async def __call__(self, caller: Caller, source: TrainingSource, cluster: Cluster) -> Sequence[dict[str, Any]]:
        """Return a NetworkPolicy, a ConfigMap, a Service and a Job.

        Raises:
            InvalidInput: names field, value and what is allowed.
            TrainingRunNotFound, TrainingPlanNotFound: the caller's project has none with this id.
            DatasetVersionNotFound, ApprovalMissing: as of a run that is started.
            ModelNotFound, ModelVersionNotFound, BaseNotTrainable, RecipeNotForBase: as of the plan.

        """
        training = await self._training(caller, source)
        self.datasets.check(caller.project, training.dataset)
        memory = cluster.memory_bytes_per_node or training.limits.memory_bytes or self.defaults.memory_bytes
        cluster = replace(cluster, image=cluster.image or self.defaults.image, memory_bytes_per_node=memory)
        refuse(cluster.violations(training.recipe, max_processes=self.defaults.max_processes))
        return await asyncio.to_thread(self._rendered, caller.project, training, cluster)

    async def _training(self, caller: Caller, source: TrainingSource) -> _Training:
        if bool(source.run) == bool(source.plan):
            raise InvalidInput.at(field="run", text="and plan are both named, or neither is: name one of them")
        if source.run:
            return await self._of_run(caller, source)
        plan = await self.plans.get(caller.project, source.plan)
        settings, asked = plan.settings, source.dataset_version
        if asked and asked.partition("@")[0] != settings.dataset:
            text = f"is {asked[:80]!r}; plan {plan.id} trains on versions of {settings.dataset}"
            raise InvalidInput.at(field="dataset_version", text=text)
        base = await self.check.base_of(caller.project, settings)
        return _Training(
            label=f"plan/{plan.id}",
            base=base,
            recipe=settings.recipe_on(base.facts),
            limits=settings.limits,
            dataset=await self.datasets.version(caller, asked or settings.dataset),
        )

    async def _of_run(self, caller: Caller, source: TrainingSource) -> _Training:
        run = await self.runs.get(caller.project, source.run)
        if run.state is RunState.IMPORTED or run.trial:
            what = "a record of another tool" if run.state is RunState.IMPORTED else f"a trial of sweep {run.sweep}"
            raise InvalidInput.at(field="run", text=f"is {run.id}, {what}: name a run that makes a model, or a plan")
        if source.dataset_version:
            text = (
                f"is {source.dataset_version[:80]!r}; run {run.id} has {run.dataset.id}: leave it empty, or name a plan"
            )
            raise InvalidInput.at(field="dataset_version", text=text)
        return _Training(
            label=f"run/{run.id}",
            base=await self.check.base(caller.project, run.base),
            recipe=run.recipe,
            limits=await current_limits(self.plans, run),
            dataset=await self.datasets.version(caller, run.dataset.id),  # as it is now: examples may have been erased
        )

    def _rendered(self, project: str, training: _Training, cluster: Cluster) -> Sequence[dict[str, Any]]:
        spec = ClusterSpec(
            name="",
            nodes=cluster.nodes,
            processes_per_node=cluster.processes_per_node,
            base={each.file.path: each.object for each in training.base.artifacts if each.object},
            examples=training.dataset.train,
            job=self._job(training, cluster),
        )
        name = _name_of(project, training, spec, gpus=cluster.gpus)
        text = replace(spec, name=name).as_json()
        if len(text) > MAX_SPEC_BYTES:
            why = f"is {training.base.id}, whose {len(spec.base)} files are too many for a ConfigMap"
            raise InvalidInput.at(field="base", text=why)
        annotations = {
            "tidemill/project": project,
            "tidemill/source": training.label,
            "tidemill/base": training.base.id,
            "tidemill/dataset-version": training.dataset.id,
        }
        return objects_of(cluster, name=name, spec=text, time=training.limits.time, annotations=annotations)

    def _job(self, training: _Training, cluster: Cluster) -> Mapping[str, Any]:
        """Return the job's fields beside its paths; the limit of memory is that of all machines together."""
        defaults = self.defaults
        return {
            "base_name": training.base.id,
            **recipe_fields(training.recipe),
            "min_examples": defaults.min_examples,
            "checkpoint_steps": defaults.checkpoint_steps,
            "device": "cuda" if cluster.gpus else "cpu",
            "numeric_format": defaults.numeric_format,
            "threads": cluster.cpus_per_node,
            "memory_bytes": cluster.memory_bytes_per_node * cluster.nodes,
            "memory_auto": training.limits.memory_auto,
            "rank_timeout_s": defaults.rank_timeout_s,
        }


def _name_of(project: str, training: _Training, spec: ClusterSpec, *, gpus: bool) -> str:
    """Return the name of what is trained and what divides it: with more memory it goes on from its checkpoints."""
    trained = {
        "project": project,
        "base": [training.base.id, {path: ref.sha256 for path, ref in spec.base.items()}],
        "examples": spec.examples.sha256,
        "recipe": training.recipe.declared,
        "machines": [spec.nodes, spec.processes_per_node, gpus],
    }
    return f"tidemill-training-{hashlib.sha256(json.dumps(trained, sort_keys=True).encode()).hexdigest()[:16]}"
