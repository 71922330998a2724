"""Create, read, change and delete datasets."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Page, PageRequest
from tidemill_core.approvals import ApprovalPolicy
from tidemill_core.errors import TidemillError
from tidemill_core.resources import Write, copy_fields, create, refuse, update
from tidemill_ingest.datasets.domain.dataset import Dataset, DatasetState
from tidemill_ingest.datasets.domain.label_rules import rule_violations
from tidemill_ingest.datasets.ports import ANY_FIELDS, Datasets, ReviewQueues
from tidemill_ingest.errors import DatasetChanged

CHANGEABLE = frozenset({"labels", "held_out_share", "group_by", "approval", "label_rules"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ManageDatasets:
    """Emits nothing: versions have events of their own. The same request again has no second effect."""

    datasets: Datasets
    queues: ReviewQueues
    clock: Clock

    async def create(self, caller: Caller, dataset: Dataset, write: Write) -> Dataset:
        """Return the new dataset; one that was deleted goes on with its groups and numbers.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            DatasetExists: the id is taken.
            DependencyUnavailable: feedback, which has the review queues of its rules, does not answer.

        """
        dataset.check()
        refused = await self._refused(caller, dataset)

        def begin(each: Dataset) -> None:
            if refused:
                raise refused
            each.declare(dataset)

        return await create(self.datasets, Dataset(id=dataset.id, project=caller.project), write, begin=begin)

    async def _refused(self, caller: Caller, dataset: Dataset) -> TidemillError | None:
        """Return why its rules are refused: what the same request again, which has its answer, does not get."""
        try:
            await self._check_rules(caller, dataset)
        except TidemillError as error:
            return error
        return None

    async def _check_rules(self, caller: Caller, dataset: Dataset) -> None:
        """Refuse rules about what a review queue does not have; each queue is read once."""
        queues = {each: await self.queues.fields(caller, each) for each in {each.queue for each in dataset.label_rules}}
        refuse(
            violation
            for place, each in enumerate(dataset.label_rules)
            if (fields := queues[each.queue]) is not ANY_FIELDS
            for violation in each.unfit(fields, f"dataset.label_rules[{place}]")
        )

    async def get(self, caller: Caller, dataset_id: str) -> Dataset:
        """Return the dataset; a deleted one is not found, though its versions are.

        Raises:
            DatasetNotFound: the caller's project has no such dataset.

        """
        dataset = await self.datasets.get(caller.project, dataset_id)
        dataset.require_active()
        return dataset

    async def list(self, caller: Caller, page: PageRequest) -> Page[Dataset]:
        """Return a page of datasets, oldest first unless the page asks for the newest."""
        return await self.datasets.list(caller.project, page=page, where={"state": DatasetState.ACTIVE.value})

    async def update(self, caller: Caller, given: Dataset, fields: frozenset[str], write: Write) -> Dataset:
        """Return the changed dataset; another share counts for groups that are new from now on.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            DatasetNotFound: there is none.
            DatasetChanged: it changed since the etag.
            ApprovalPolicyLowered: fewer or other people would have to agree to versions, and the caller is no admin.
            DependencyUnavailable: feedback, which has the review queues of its rules, does not answer.

        """
        refused: TidemillError | None = None
        if "label_rules" in fields:
            refuse(rule_violations(given.label_rules, field="dataset.label_rules"))
            refused = await self._refused(caller, given)

        def change(dataset: Dataset) -> None:
            dataset.require_active()
            if refused:
                raise refused
            if "approval" in fields:
                dataset.approval.check_change(caller, given.approval)
            copy_fields(given, dataset, fields)
            dataset.check()

        return await update(self.datasets, caller.project, given.id, change, write, changed=DatasetChanged)

    async def delete(self, caller: Caller, dataset_id: str, write: Write) -> Dataset:
        """Return the dataset as it is now; its versions stay readable for their retention.

        Raises:
            DatasetNotFound: there is none.
            DatasetChanged: it changed since the etag.
            ApprovalPolicyLowered: people have to agree to its versions, and the caller is no admin.

        """
        now = self.clock.now()

        def end(dataset: Dataset) -> None:
            dataset.approval.check_change(caller, ApprovalPolicy())
            dataset.delete(now=now)

        return await update(self.datasets, caller.project, dataset_id, end, write, changed=DatasetChanged)
