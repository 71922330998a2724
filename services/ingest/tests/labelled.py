"""Labels in memory, and what reviewers say in tests."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tidemill_ingest.labels import ports
from tidemill_ingest.labels.domain import ItemLabels, Label, LabelValue, SubjectKind
from tidemill_testkit.clocks import NOON


@dataclass
class LabelsHere:
    """Implements `labels.ports.Labels`."""

    rows: dict[tuple[str, str], ItemLabels] = field(default_factory=dict)

    async def put(self, project: str, labels: ItemLabels) -> None:
        kept = self.rows.get((project, labels.item))
        if kept is None or kept.seq < labels.seq or (kept.seq == labels.seq and kept.subject):
            self.rows[project, labels.item] = labels

    async def of_document(self, project: str, document: str) -> Sequence[ItemLabels]:
        found = [each for each in self._of(project, SubjectKind.DOCUMENT) if each.subject == document]
        return sorted(found, key=lambda each: str(each.resolve_time), reverse=True)[: ports.MAX_SHOWN]

    async def of_examples(
        self, project: str, dataset: str, examples: Collection[str]
    ) -> Mapping[str, Sequence[ItemLabels]]:
        found = defaultdict[str, list[ItemLabels]](list)
        for each in self._of(project, SubjectKind.EXAMPLE):
            if each.dataset == dataset and each.subject in examples:
                found[each.subject].append(each)
        return found

    async def of_dataset(self, project: str, dataset: str, *, limit: int) -> Mapping[str, Sequence[ItemLabels]]:
        found = [each for each in self._of(project, SubjectKind.EXAMPLE) if each.dataset == dataset][:limit]
        return await self.of_examples(project, dataset, {each.subject for each in found})

    async def of_source(self, project: str, source: str, *, limit: int) -> Sequence[ItemLabels]:
        return [each for each in self._of(project, SubjectKind.DOCUMENT) if each.source == source][:limit]

    async def documents_with(self, project: str, term: str, *, after: str, limit: int) -> Sequence[str]:
        found = {each.subject for each in self._of(project, SubjectKind.DOCUMENT) if term in each.terms}
        return sorted(each for each in found if each > after)[:limit]

    async def erase_document(self, project: str, document: str) -> int:
        return self._remove(project, await self.of_document(project, document))

    async def forget_person(self, project: str, person: str) -> int:
        found = [(at, each) for at, each in self.rows.items() if at[0] == project and person in each.named]
        for at, each in found:
            self.rows[at] = each.without([person])
        return len(found)

    async def erase_dataset(self, project: str, dataset: str) -> int:
        of_dataset = [each for each in self._of(project, SubjectKind.EXAMPLE) if each.dataset == dataset]
        return self._remove(project, of_dataset)

    def _of(self, project: str, kind: SubjectKind) -> Sequence[ItemLabels]:
        return [each for (of, _), each in self.rows.items() if of == project and each.subject and each.kind is kind]

    def _remove(self, project: str, found: Sequence[ItemLabels]) -> int:
        for each in found:
            self.rows[project, each.item] = each.removed()
        return len(found)


def labels_of(  # noqa: PLR0913 - what an event says
    item: str,
    *,
    document: str = "",
    example: str = "",
    dataset: str = "helpdesk_sft",
    source: str = "",
    queue: str = "quality",
    seq: int = 1,
    at: datetime = NOON,
    reviewers: tuple[str, ...] = ("user:ada", "user:bob"),
    adjudicator: str = "",
    **values: LabelValue,
) -> ItemLabels:
    """Return what counts of an item about a document, or about an example."""
    return ItemLabels(
        item=item,
        seq=seq,
        queue=queue,
        kind=SubjectKind.EXAMPLE if example else SubjectKind.DOCUMENT,
        subject=example or document,
        dataset=dataset if example else "",
        source=source,
        labels=tuple(Label(field=name, value=value) for name, value in values.items()),
        reviewers=reviewers,
        adjudicator=adjudicator,
        resolve_time=at,
    )
