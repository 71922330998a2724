"""Finds in a text what repeats across the documents of its source, for sources that have it removed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidemill_ingest.documents.domain.version import UNCOUNTED, Boilerplate, Prepared
from tidemill_ingest.documents.ports import SharedBlocks
from tidemill_ingest.quality.boilerplate import BoilerplateRules, digest_of, spans_of
from tidemill_ingest.quality.policy import BoilerplatePolicy
from tidemill_ingest.sources.domain import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class FindBoilerplate:
    """Counts blocks by documents; whatever the number of these, a document costs the same."""

    blocks: SharedBlocks
    rules: BoilerplateRules

    async def __call__(self, source: Source, document: str, prepared: Prepared) -> Prepared:
        """Count the blocks of a text that is about to be saved, and return it with those that repeat."""
        if source.quality.boilerplate is not BoilerplatePolicy.REMOVE:
            return prepared
        project, digests = source.project, _different(prepared)
        await self.blocks.put(project, source.id, document, digests)
        repeated = self.rules.repeated(digests, await self.blocks.counts(project, source.id, digests))
        removed = [each for each in prepared.blocks if each.digest in repeated]
        characters = sum(len(prepared.text[each.start : each.end].strip()) for each in removed)
        return replace(
            prepared,
            boilerplate=spans_of(prepared.text, prepared.blocks, repeated),
            removed=Boilerplate(digest=digest_of(repeated), blocks=len(removed), characters=characters),
        )

    async def digest(self, source: Source, document: str) -> str | None:
        """Return what repeats in the text that was counted last, as its digest; None where nothing is removed.

        A document that has a version and is UNCOUNTED is of a source that was deleted and made anew.
        """
        if source.quality.boilerplate is not BoilerplatePolicy.REMOVE:
            return None
        known = await self.blocks.of_document(source.project, source.id, document)
        if known is None:
            return UNCOUNTED
        return digest_of(self.rules.repeated(known, await self.blocks.counts(source.project, source.id, known)))

    async def erase(self, project: str, source: str, document: str) -> int:
        """Remove what was counted of a document, and return how many blocks that were."""
        return await self.blocks.remove(project, source, document)


def _different(prepared: Prepared) -> Sequence[str]:
    return tuple(dict.fromkeys(block.digest for block in prepared.blocks))
