"""Declared resources: sources, collections, prompts, deployments, and the others that a loop has."""

from collections.abc import Mapping
from types import MappingProxyType

from tidemill.evaluator.v1 import evaluation_service_pb2 as evaluations
from tidemill.evaluator.v1 import suite_service_pb2 as suites
from tidemill.evaluator.v1.evaluation_pb2 import Gate
from tidemill.evaluator.v1.suite_pb2 import Suite
from tidemill.feedback.v1 import curation_service_pb2 as curations
from tidemill.feedback.v1 import feedback_metric_service_pb2 as metrics
from tidemill.feedback.v1.curation_pb2 import Curation
from tidemill.feedback.v1.feedback_metric_pb2 import FeedbackMetric
from tidemill.inference.v1 import budget_service_pb2 as budgets
from tidemill.inference.v1 import deployment_service_pb2 as deployments
from tidemill.inference.v1 import experiment_service_pb2 as experiments
from tidemill.inference.v1 import price_service_pb2 as prices
from tidemill.inference.v1 import prompt_service_pb2 as prompts
from tidemill.inference.v1.budget_pb2 import Budget, BudgetUsage
from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill.inference.v1.experiment_pb2 import Experiment
from tidemill.inference.v1.price_pb2 import Price
from tidemill.inference.v1.prompt_pb2 import Prompt, PromptOrigin
from tidemill.ingest.v1 import dataset_service_pb2 as datasets
from tidemill.ingest.v1 import source_service_pb2 as sources
from tidemill.ingest.v1.dataset_pb2 import Dataset
from tidemill.ingest.v1.source_pb2 import Source
from tidemill.rag.v1 import collection_service_pb2 as collections
from tidemill.rag.v1.collection_pb2 import Collection
from tidemill.trainer.v1 import training_service_pb2 as training
from tidemill.trainer.v1.training_pb2 import TrainingPlan
from tidemill_client.resources import Resources


class Sources(Resources[Source]):
    """The sources of a project. The documents of a deleted one are kept."""

    contract, stub, noun, field = sources, "sources", "Source", "source"


class Collections(Resources[Collection]):
    """The collections of a project; a change of what their points are made of starts a new index version."""

    contract, stub, noun, field = collections, "collections", "Collection", "collection"

    async def rebuild(self, collection: str) -> Collection:
        """Start a new index version, which replaces the live one when it is complete, or waits for `promote`."""
        request = collections.RebuildIndexRequest(id=collection)
        return (await self._connection.collections.RebuildIndex(request)).collection

    async def promote(self, collection: str, index: int) -> Collection:
        """Make an index version that is READY answer searches; the one before is READY then, for a while."""
        request = collections.PromoteIndexRequest(id=collection, index=index)
        return (await self._connection.collections.PromoteIndex(request)).collection

    async def standing(self, collection: str, document: str) -> list[collections.IndexedDocument]:
        """Return a document's status in each index version; it is up to date where both `seq` are equal."""
        request = collections.GetIndexedDocumentRequest(collection=collection, document=document)
        return list((await self._connection.collections.GetIndexedDocument(request)).documents)


class Prompts(Resources[Prompt]):
    """The prompts of a project; changed content becomes a new version. A prompt in use cannot be deleted."""

    contract, stub, noun, field = prompts, "prompts", "Prompt", "prompt"

    async def label(self, prompt: str, label: str, *, version: int) -> Prompt:
        """Point a label, for example "production", to a version."""
        request = prompts.LabelPromptRequest(id=prompt, label=label, version=version)
        return (await self._connection.prompts.LabelPrompt(request)).prompt

    async def approve(self, prompt: str, *, version: int, rationale: str = "") -> Prompt:
        """Approve a version that another person made."""
        request = prompts.ApprovePromptVersionRequest(id=prompt, version=version, rationale=rationale)
        return (await self._connection.prompts.ApprovePromptVersion(request)).prompt

    async def branch(self, prompt: str, name: str, *, version: int = 0) -> Prompt:
        """Create the prompt `name` as a branch of a version of another one, 0 being its newest."""
        return await self.create(Prompt(id=name, forked_from=PromptOrigin(prompt=prompt, version=version)))

    async def merge(  # noqa: PLR0913 - keyword-only
        self,
        prompt: str,
        *,
        source: str,
        version: int = 0,
        resolutions: Mapping[str, str] | None = None,
        etag: str = "",
        validate_only: bool = False,
    ) -> Prompt:
        """Merge what a version of the source changed, 0 being its newest; `resolutions` decide fields in conflict.

        With `validate_only` return a preview.

        Raises:
            PreconditionFailed: `PROMPT_MERGE_CONFLICT`, names the fields that both changed in different ways.

        """
        request = prompts.MergePromptRequest(
            id=prompt,
            source=source,
            source_version=version,
            resolutions=resolutions or {},
            etag=etag,
            validate_only=validate_only,
        )
        return (await self._connection.prompts.MergePrompt(request)).prompt


class Deployments(Resources[Deployment]):
    """The deployments of a project; the next request uses an updated one. Inferences of a deleted one are kept."""

    contract, stub, noun, field = deployments, "deployments", "Deployment", "deployment"


class Experiments(Resources[Experiment]):
    """The experiments of a project: created, they run; a changed one runs again, once it has ended."""

    contract, stub, noun, field = experiments, "experiments", "Experiment", "experiment"

    async def stop(self, experiment: str) -> Experiment:
        """End its run: what is live answers all requests again, and the result is what is known by now."""
        request = experiments.StopExperimentRequest(id=experiment)
        return (await self._connection.experiments.StopExperiment(request)).experiment


class Budgets(Resources[Budget]):
    """The budgets of a project; a changed one counts in all replicas within seconds."""

    contract, stub, noun, field = budgets, "budgets", "Budget", "budget"

    async def usage(self, budget: str, of: str = "") -> BudgetUsage:
        """Return what is used in the current window; `of` names whose count it is, unless the budget is per project."""
        request = budgets.GetBudgetUsageRequest(id=budget, of=of)
        return (await self._connection.budgets.GetBudgetUsage(request)).usage


class Prices(Resources[Price]):
    """The prices of a project's models; changed rates are the next version of one."""

    contract, stub, noun, field = prices, "prices", "Price", "price"


class DeclaredDatasets(Resources[Dataset]):
    """The declarations of datasets; their versions are in `Datasets`."""

    contract, stub, noun, field = datasets, "datasets", "Dataset", "dataset"


class FeedbackMetrics(Resources[FeedbackMetric]):
    """The metrics that a project declares for feedback; feedback of a deleted one is kept."""

    contract, stub, noun, field = metrics, "metrics", "FeedbackMetric", "metric"


class Curations(Resources[Curation]):
    """The curations of a project."""

    contract, stub, noun, field = curations, "curations", "Curation", "curation"


class TrainingPlans(Resources[TrainingPlan]):
    """The training plans of a project; their runs are in `Training`."""

    contract, stub, noun, field = training, "training", "TrainingPlan", "plan"


class Suites(Resources[Suite]):
    """The suites of a project; only Get returns their cases."""

    contract, stub, noun, field = suites, "suites", "Suite", "suite"


class DeclaredSuites(Suites):
    """The suites that a file declares: an update keeps the cases that were accepted of proposals."""

    on_update = MappingProxyType({"keep_proposed_cases": True})


class Gates(Resources[Gate]):
    """The gates of a project; their evaluations are in `Evaluations`."""

    contract, stub, noun, field = evaluations, "evaluations", "Gate", "gate"
