"""Approve a version of a dataset: when its policy is met, trainings start on it."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock
from tidemill_core.approvals import approval_of
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import Write, update
from tidemill_ingest.datasets.domain.dataset import Dataset
from tidemill_ingest.datasets.domain.version import DatasetVersion
from tidemill_ingest.datasets.ports import Datasets
from tidemill_ingest.errors import DatasetVersionNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveVersion:
    """Emits DatasetVersionApproved with the last approval that the version's policy requires, once."""

    datasets: Datasets
    clock: Clock

    async def __call__(self, caller: Caller, reference: str, *, rationale: str, write: Write) -> DatasetVersion:
        """Return the version with the caller's approval; one person's counts once.

        Raises:
            InvalidInput: the reference names no version by its number, or the rationale is too long.
            DatasetNotFound, DatasetVersionNotFound: there is no such thing.
            ApproverNotAllowed: the caller lacks the policy's role, is no person, or an author of the curation.

        """
        dataset_id, number = _named(reference)
        now = self.clock.now()
        given = approval_of(caller, rationale=rationale, now=now)

        def change(dataset: Dataset) -> None:
            version = _of(dataset, number)
            version.approval.check(caller, version.authors)
            dataset.approve(version, given, now=now)

        return _of(await update(self.datasets, caller.project, dataset_id, change, write), number)


def _named(reference: str) -> tuple[str, int]:
    dataset_id, _, number = reference.partition("@")
    if not (number.isascii() and number.isdigit() and len(number) < 10):  # noqa: PLR2004 - more than there will be
        text = f"is {reference[:80]!r}; name the version that you have seen, dataset@number"
        raise InvalidInput.at(field="id", text=text)
    return dataset_id, int(number)


def _of(dataset: Dataset, number: int) -> DatasetVersion:
    for version in dataset.versions:
        if version.number == number:
            return version
    reference, known = f"{dataset.id}@{number}", [each.number for each in dataset.versions]
    raise DatasetVersionNotFound(reference, known=known)
