"""Read the versions of datasets: what they are, what they hold, how two of them differ."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_core.paging import numbered_page
from tidemill_core.resources import ResolveShared, nothing_shared
from tidemill_core.rights import ACT_FOR_USERS, has_right
from tidemill_ingest.datasets.domain.example import Example
from tidemill_ingest.datasets.domain.version import DatasetVersion, Part, Statistics, VersionDraft
from tidemill_ingest.datasets.ports import Datasets, Parts, Restricted
from tidemill_ingest.errors import DatasetNotFound, DatasetVersionNotFound, DifferenceTooLarge, ExamplesRestricted
from tidemill_ingest.limits import Limits

TRAIN: Final = "train"
HELD_OUT: Final = "held_out"
Split = Literal["train", "held_out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Ids of examples, ordered, each in one of these at most."""

    added: Sequence[str]
    removed: Sequence[str]
    changed: Sequence[str]
    moved: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadVersions:
    """Changes nothing. Versions of a deleted dataset are found for their retention."""

    datasets: Datasets
    parts: Parts
    limits: Limits
    restricted: Restricted
    shared: ResolveShared = nothing_shared

    async def version(self, caller: Caller, reference: str) -> DatasetVersion:
        """Return `dataset@number`, or the newest version of `dataset`; `project/dataset` as long as that shares it.

        One of another project has the name that it is asked for by, and of what it came from nothing.

        Raises:
            DatasetNotFound, DatasetVersionNotFound: there is no such thing, or it is not shared.

        """
        name, at, number = reference.partition("@")
        if "/" not in name:
            return await self._version(caller.project, reference)
        found = self.shared(caller.project, name)
        if found is None:
            raise DatasetNotFound(name)
        owner, dataset = found
        try:
            version = await self._version(owner, f"{dataset}{at}{number}")
        except DatasetNotFound:
            raise DatasetNotFound(name) from None
        except DatasetVersionNotFound:
            raise DatasetVersionNotFound(reference, known=[]) from None
        return version if owner == caller.project else _as_shared(version, name)

    async def _version(self, project: str, reference: str) -> DatasetVersion:
        dataset = await self.datasets.get(project, reference.partition("@")[0])
        return dataset.version_named(reference)

    async def versions(self, caller: Caller, dataset_id: str, page: PageRequest) -> Page[DatasetVersion]:
        """Return a page of versions, by number.

        Raises:
            DatasetNotFound: there is none.
            InvalidInput: the page's size or token is not usable.

        """
        dataset = await self.datasets.get(caller.project, dataset_id)
        versions = {each.number: each for each in dataset.versions}
        shown, token = numbered_page(list(versions), page)
        return Page(items=[versions[number] for number in shown], next_token=token)

    async def part(self, caller: Caller, reference: str, part: Split) -> bytes:
        """Return the JSON lines of a part of a version of the project's own: they name people.

        They show passages to those who act for users, and to who may read, now, each document that is shown.

        Raises:
            DatasetNotFound, DatasetVersionNotFound: there is no such thing.
            ExamplesRestricted: something of it is not for the caller.

        """
        version = await self._version(caller.project, reference)
        chosen = version.draft.train if part == TRAIN else version.draft.held_out
        if not has_right(caller, ACT_FOR_USERS):
            await self._refuse_restricted(caller, version.id, await self._examples(chosen))
        return await self.parts.lines(chosen.object)

    async def _refuse_restricted(self, caller: Caller, version: str, examples: Sequence[Example]) -> None:
        shown = {each for example in examples for each in example.passages}
        restricted = await self.restricted(caller, shown)
        count = sum(not restricted.isdisjoint(example.passages) for example in examples)
        if count:
            raise ExamplesRestricted(version, examples=count)

    async def difference(self, caller: Caller, base: str, target: str) -> Difference:
        """Return which examples came and went.

        Raises:
            DatasetNotFound, DatasetVersionNotFound: there is no such thing.
            InvalidInput: they are versions of two datasets.
            DifferenceTooLarge: they have more examples than are compared.

        """
        before, after = [await self._version(caller.project, each) for each in (base, target)]
        if before.dataset != after.dataset:
            raise InvalidInput.at(field="target", text=f"is a version of {after.dataset}; send one of {before.dataset}")
        count = before.examples + after.examples
        if count > self.limits.compared_examples:
            raise DifferenceTooLarge(examples=count, limit=self.limits.compared_examples)
        old, new = await self._by_id(before), await self._by_id(after)
        both = sorted(old.keys() & new.keys())
        changed = [each for each in both if old[each][1].answered != new[each][1].answered]
        return Difference(
            added=sorted(new.keys() - old.keys()),
            removed=sorted(old.keys() - new.keys()),
            changed=changed,
            moved=[each for each in both if old[each][0] != new[each][0] and each not in {*changed}],
        )

    async def _by_id(self, version: DatasetVersion) -> dict[str, tuple[str, Example]]:
        found = [
            *[(TRAIN, each) for each in await self._examples(version.draft.train)],
            *[(HELD_OUT, each) for each in await self._examples(version.draft.held_out)],
        ]
        return {example.id: (part, example) for part, example in found}

    async def _examples(self, part: Part) -> Sequence[Example]:
        return await self.parts.examples(part.object)


def _as_shared(version: DatasetVersion, name: str) -> DatasetVersion:
    nothing = Statistics(
        offered=0, duplicates=0, overlap=0, erased=0, groups=0, end_users=0, mean_output_chars=0.0, shared=0
    )
    draft = version.draft
    return DatasetVersion(
        dataset=name,
        number=version.number,
        seq=0,
        draft=VersionDraft(digest=draft.digest, train=draft.train, held_out=draft.held_out, statistics=nothing),
        curation="",
        curation_seq=0,
        published_at=version.published_at,
        approval=version.approval,
        approvals=tuple(replace(each, approver="", rationale="") for each in version.counted_approvals),
    )
