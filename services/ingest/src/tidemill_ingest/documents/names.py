"""Names of persons, places and organisations masked by a project's model, in processes of their own."""

from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_core.errors import Blame, DependencyUnavailable
from tidemill_core.models.manifest import ArtifactRefused
from tidemill_ingest.documents.domain.version import Prepared
from tidemill_ingest.documents.ports import NameModels
from tidemill_ingest.errors import DocumentRefused, NamesModelUnusable
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.masking.names import ModelFolder, name_finder
from tidemill_ingest.masking.pseudonyms import Pseudonyms
from tidemill_ingest.masking.spans import moved, replaced
from tidemill_ingest.masking.tokens import outside_tokens
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits, WorkEndedError

_MAX_WAITING = 1000
"""Documents of one project that may wait for a process."""


@dataclass(frozen=True, slots=True)
class _Unusable:
    """Why a model cannot be used, on its way between processes."""

    why: str


def mask_names(
    model: ModelFolder, prepared: Prepared, masking: Masking, tokens_key: bytes | None = None
) -> Prepared | _Unusable:
    """Return what was extracted and masked before, with names replaced in text, title, metadata and names of places.

    Pseudonyms in it stay; with the `tokens_key` of the project names get their own.
    """
    try:
        finder = name_finder(model)
    except ArtifactRefused as refused:
        (violation,) = refused.violations
        return _Unusable(f"{violation.field} {violation.description}")
    facts = {name: fact for name, fact in prepared.metadata.items() if isinstance(fact, str)}
    texts = [prepared.text, prepared.title, *facts.values(), *(anchor.name for anchor in prepared.anchors)]
    pseudonyms = Pseudonyms(tokens_key) if tokens_key else None
    found = [
        outside_tokens(text, [each for each in names if each[1] in masking.kinds])
        for text, names in zip(texts, finder.found(texts), strict=True)
    ]
    replacements = [
        [(span, pseudonyms.of(kind, text[slice(*span)]) if pseudonyms else kind.placeholder) for span, kind in names]
        for text, names in zip(texts, found, strict=True)
    ]
    text, title, *others = [replaced(text, names) for text, names in zip(texts, replacements, strict=True)]
    counts = dict(prepared.masked)
    for _, kind in (each for names in found for each in names):
        counts[kind.value] = counts.get(kind.value, 0) + 1
    starts = moved([anchor.start for anchor in prepared.anchors], replacements[0])
    names_of_places = others[len(facts) :]
    return replace(
        prepared,
        text=text,
        title=title,
        metadata={**prepared.metadata, **dict(zip(facts, others, strict=False))},
        masked=dict(sorted(counts.items())),
        steps=(*prepared.steps, f"mask names (model {masking.model})"),
        anchors=tuple(
            replace(anchor, start=start, name=name)
            for anchor, start, name in zip(prepared.anchors, starts, names_of_places, strict=True)
        ),
        pseudonyms={**prepared.pseudonyms, **(pseudonyms.values if pseudonyms else {})},
    )


class ProcessNames:
    """Implements `ports.NameMasking`. The processes end when there is no work: a model is in memory only meanwhile."""

    def __init__(self, models: NameModels, *, workers: int, cpu_s: float, wall_s: float, memory_bytes: int) -> None:
        self._models = models
        limits = ProcessLimits(
            workers=workers, cpu_s=cpu_s, wall_s=wall_s, memory_bytes=memory_bytes, waiting=_MAX_WAITING
        )
        self._processes = BoundedProcesses(limits, "names", background=True)

    async def stop(self) -> None:
        """Stop them; what is in work is given up."""
        await self._processes.stop()

    async def mask(
        self, caller: Caller, prepared: Prepared, masking: Masking, *, tokens_key: bytes | None = None
    ) -> Prepared:
        """See `ports.NameMasking.mask`."""
        model = await self._models.folder(caller, masking.model)
        try:
            outcome = await self._processes.run(caller.project, mask_names, model, prepared, masking, tokens_key)
        except WorkEndedError as ended:
            if ended.cause == "cpu":
                description = f"{ended.why} to mask names: split it, or name a smaller model in the source's masking"
                raise DocumentRefused(
                    reason="DOCUMENT_TOO_COMPLEX", field="content", description=description
                ) from ended
            if ended.cause in ("wall", "died"):
                message = f"masking names {ended.why}: try again"
                raise DependencyUnavailable(message, dependency="names", blame=Blame.CAPACITY) from ended
            raise NamesModelUnusable(masking.model, f"{ended.why} on this document") from ended
        if isinstance(outcome, _Unusable):
            raise NamesModelUnusable(masking.model, outcome.why)
        return outcome
