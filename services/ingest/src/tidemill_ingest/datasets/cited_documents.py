"""The documents that examples show, as they are now."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from tidemill_ingest.datasets.domain.example import CitedPassage
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.ports import Documents

_BATCH_SIZE = 200


async def passages_where(
    documents: Documents, project: str, passages: Iterable[CitedPassage], condition: Callable[[Document, int], bool]
) -> frozenset[CitedPassage]:
    """Return those of which document and version meet the condition; documents that ingest does not know meet none."""
    by_document = defaultdict[str, set[CitedPassage]](set)
    for passage in passages:
        by_document[passage.document].add(passage)
    cited, found = sorted(by_document), set[CitedPassage]()
    for start in range(0, len(cited), _BATCH_SIZE):
        known = await documents.get_many(project, cited[start : start + _BATCH_SIZE])
        found |= {
            passage
            for name, document in known.items()
            for passage in by_document[name]
            if condition(document, passage.version)
        }
    return frozenset(found)
