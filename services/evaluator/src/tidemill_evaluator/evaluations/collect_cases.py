"""Collects the cases of an evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_core.errors import NotFound
from tidemill_evaluator.errors import CANDIDATE_UNAVAILABLE, NO_CASES, TOO_MANY_CASES, NoVerdict
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.ports import Datasets, Models
from tidemill_evaluator.suites.domain.cases import CaseSet
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.names import name_of
from tidemill_evaluator.suites.domain.suite import exceeding
from tidemill_evaluator.suites.ports import Suites


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The sets of cases, and the dataset version of the held-out split."""

    dataset_version: str
    case_sets: Sequence[CaseSet]


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectCases:
    """Collects the current versions of suites, and the held-out split of the candidate's training data.

    Where prompts are compared, that is what the live model was trained on, else the newest version of the dataset.

    Held-out splits grow with their dataset: one that exceeds the remaining limit is sampled.
    """

    suites: Suites
    models: Models
    datasets: Datasets
    limits: Limits

    async def __call__(self, caller: Caller, evaluation: Evaluation, *, live_model: str) -> Gathered:
        """Return the sets of cases in the order of the requirements.

        Raises:
            NoVerdict: the candidate cannot be loaded, or there are no cases, or too many.

        """
        comparing = evaluation.comparing
        dataset_version = await self._trained_on(
            caller, evaluation, live_model if comparing.prompt else comparing.model
        )
        case_sets = [await self._suite(caller, suite) for suite in comparing.required_suites]
        sizes, datasets = [case_set.size for case_set in case_sets], comparing.required_datasets
        if message := exceeding(sizes, self.limits, held_out=bool(datasets)):
            raise NoVerdict(TOO_MANY_CASES, message)
        capacity = self.limits.evaluation_cases - sum(sizes)
        for dataset in datasets:
            if comparing.prompt and name_of(dataset_version) != dataset:
                dataset_version = await self._newest(caller, dataset)
            held_out = await self._held_out(caller, dataset, dataset_version)
            case_sets.append(held_out.at_most(max(capacity, 1)))
            capacity -= case_sets[-1].size
        return Gathered(dataset_version=dataset_version, case_sets=case_sets)

    async def _trained_on(self, caller: Caller, evaluation: Evaluation, model: str) -> str:
        if not model:
            return ""
        try:
            version = await self.models.version(caller, model)
        except NotFound as error:
            message = f"trainer has no version {model}"
            raise NoVerdict(CANDIDATE_UNAVAILABLE, message) from error
        if not version.ready:
            message = f"version {model} is not ready"
            raise NoVerdict(CANDIDATE_UNAVAILABLE, message)
        return version.dataset_version or evaluation.dataset_version

    async def _newest(self, caller: Caller, dataset: str) -> str:
        try:
            found = await self.datasets.newest(caller, dataset)
        except NotFound as error:
            raise NoVerdict(NO_CASES, f"dataset {dataset} does not exist") from error
        if not found:
            raise NoVerdict(NO_CASES, f"dataset {dataset} has no version yet")
        return found

    async def _suite(self, caller: Caller, suite: str) -> CaseSet:
        try:
            found = await self.suites.get(caller.project, suite)
        except NotFound as error:
            message = f"suite {suite} does not exist"
            raise NoVerdict(NO_CASES, message) from error
        if found.incomparable:
            raise NoVerdict(NO_CASES, found.incomparable)
        return found.case_set

    async def _held_out(self, caller: Caller, dataset: str, dataset_version: str) -> CaseSet:
        if name_of(dataset_version) != dataset:
            trained = f"on {dataset_version}" if dataset_version else "on no dataset"
            message = f"the candidate was trained {trained}, so there is no held-out split of {dataset} for it"
            raise NoVerdict(NO_CASES, message)
        try:
            case_set = await self.datasets.held_out(caller, dataset_version)
        except NotFound as error:
            message = f"dataset version {dataset_version} does not exist"
            raise NoVerdict(NO_CASES, message) from error
        if case_set.size == 0:
            message = f"dataset version {dataset_version} has no held-out split"
            raise NoVerdict(NO_CASES, message)
        if case_set.content.size > self.limits.part_bytes:
            message = f"the held-out split of {dataset_version} has {case_set.content.size} bytes; the limit is "
            raise NoVerdict(TOO_MANY_CASES, f"{message}{self.limits.part_bytes}")
        return case_set
