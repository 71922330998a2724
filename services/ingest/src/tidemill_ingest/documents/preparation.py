"""Bytes in, what may be stored out: extraction, cleaning and masking, in processes of their own."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tidemill_core.application import Caller
from tidemill_core.characters import clean, clean_line
from tidemill_ingest.documents.domain.members import HeldFile
from tidemill_ingest.documents.domain.submission import DocumentSpec
from tidemill_ingest.documents.domain.version import Prepared
from tidemill_ingest.documents.ports import NameMasking
from tidemill_ingest.formats import is_listing
from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.masking.kinds import DEFAULT_PHONE_REGIONS, Masking
from tidemill_ingest.members import Allowance, ReadMember
from tidemill_ingest.metrics import PREPARATION
from tidemill_ingest.processes import Processes, Refused, refusable
from tidemill_ingest.quality.boilerplate import TextBlock, blocks_of
from tidemill_ingest.quality.fingerprint import Fingerprint
from tidemill_ingest.quality.policy import BoilerplatePolicy, Measures, Quality
from tidemill_ingest.quality.traits import Traits
from tidemill_kit.store.batching import BatchedByKey

if TYPE_CHECKING:
    from tidemill_ingest.masking.stage import MaskingStage

_TITLE_LENGTH = 500
_NAME_LENGTH = 200
_TEXTS = frozenset({"text/plain", "text/markdown", "text/html"})
_SMALL_BYTES = 32 * 1024
_MAX_TOGETHER = 16
"""Small documents that a process prepares in one call, of `_SMALL_BYTES` together at most."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A document on its way to the process that prepares it, with the rules of its source."""

    spec: DocumentSpec
    content: bytes
    masking: Masking
    limits: ConversionLimits
    quality: Quality | None
    tokens_key: bytes | None

    @property
    def is_small(self) -> bool:
        """Whether it may wait for others in its call: these take up to 90 ms of a processor, one of 32 KB takes 45."""
        return self.spec.media_type in _TEXTS and len(self.content) <= _SMALL_BYTES

    def undigested(self, phone_regions: Sequence[str]) -> Prepared:
        """Return what may be stored, without what its text is compared, counted and profiled by."""
        return _undigested(
            self.spec, self.content, self.masking, phone_regions, self.limits, self.quality, self.tokens_key
        )


def prepare_documents(
    submitted: Sequence[Submitted],
    phone_regions: Sequence[str],
    profiled: bool,  # noqa: FBT001 - positional, because it goes to another process
) -> list[Prepared | Refused]:
    """Return what may be stored of each document, or why it is refused; their texts are sketched together."""
    outcomes = [refusable(each.undigested, phone_regions) for each in submitted]
    made = {
        place: (prepared, each.quality, each.limits)
        for place, (each, prepared) in enumerate(zip(submitted, outcomes, strict=True))
        if isinstance(prepared, Prepared) and _is_digested(each.spec, each.masking)
    }
    finished = dict(zip(made, _digested([*made.values()], profiled=profiled), strict=True))
    return [finished.get(place, outcome) for place, outcome in enumerate(outcomes)]


def prepare_document(  # noqa: PLR0913, PLR0917 - positional, because they go to another process
    spec: DocumentSpec,
    content: bytes,
    masking: Masking,
    phone_regions: Sequence[str] = DEFAULT_PHONE_REGIONS,
    limits: ConversionLimits | None = None,
    quality: Quality | None = None,
    tokens_key: bytes | None = None,
    profiled: bool = True,  # noqa: FBT001, FBT002
) -> Prepared:
    """Return what may be stored of a document: nothing in it has not passed the masking stage.

    What is inside of it is named by placeholders, also where identifiers get pseudonyms: its keys stay for good. Where
    a model masks names afterwards, `digested` comes after that: no hash of a name is stored.

    Raises:
        DocumentRefused: the bytes are not what the media type says, hold no text, or exceed the limits.

    """
    limits = limits or ConversionLimits()
    prepared = _undigested(spec, content, masking, phone_regions, limits, quality, tokens_key)
    return digested(prepared, quality, limits, profiled) if _is_digested(spec, masking) else prepared


def _is_digested(spec: DocumentSpec, masking: Masking) -> bool:
    return not masking.model and not is_listing(spec.media_type)


def _undigested(  # noqa: PLR0913, PLR0917 - positional, like `prepare_document`
    spec: DocumentSpec,
    content: bytes,
    masking: Masking,
    phone_regions: Sequence[str],
    limits: ConversionLimits,
    quality: Quality | None,
    tokens_key: bytes | None,
) -> Prepared:
    from tidemill_ingest.masking.pseudonyms import Pseudonyms  # noqa: PLC0415 - libraries that only the processes use
    from tidemill_ingest.masking.stage import MaskingStage  # noqa: PLC0415
    from tidemill_ingest.parsing import members  # noqa: PLC0415
    from tidemill_ingest.parsing.text import extract  # noqa: PLC0415

    extracted = extract(content, spec.media_type, limits)
    pseudonyms = Pseudonyms(tokens_key, phone_regions) if tokens_key else None
    stage = MaskingStage(masking, phone_regions, pseudonyms)
    title = stage.mask(clean_line(spec.title) or _shortened(extracted.title))
    text, starts = stage.mask_with_places(extracted.text, [anchor.start for anchor in extracted.anchors])
    return Prepared(
        media_type=extracted.media_type,
        text=text,
        title=title,
        uri=stage.mask(clean_line(spec.uri)),
        language=spec.language,
        readers=tuple(sorted(set(spec.readers))),
        metadata={
            name: stage.mask_fact(name, clean(fact) if isinstance(fact, str) else fact)
            for name, fact in spec.metadata.items()
        },
        revision=spec.revision,
        steps=(*extracted.steps, stage.name()),
        masked=dict(sorted(stage.masked.items())),
        anchors=tuple(
            replace(anchor, start=start, name=masked_name(stage, anchor.name))
            for anchor, start in zip(extracted.anchors, starts, strict=True)
        ),
        measures=None if is_listing(spec.media_type) else _measures(text, spec.language, quality, limits),
        members=members.planned(extracted.entries, limits, MaskingStage(masking, phone_regions).mask),
        pseudonyms=pseudonyms.values if pseudonyms else {},
    )


def digested(
    prepared: Prepared,
    quality: Quality | None,
    limits: ConversionLimits,
    profiled: bool = True,  # noqa: FBT001, FBT002 - positional, because it goes to another process
) -> Prepared:
    """Return it with what its text is compared, counted and profiled by."""
    return _digested([(prepared, quality, limits)], profiled=profiled)[0]


def _digested(texts: Sequence[tuple[Prepared, Quality | None, ConversionLimits]], *, profiled: bool) -> list[Prepared]:
    sketched = _fingerprints(texts)
    return [
        replace(
            prepared,
            fingerprint=sketched.get(place),
            traits=_traits(prepared.text, prepared.language, limits) if profiled else None,
            blocks=_blocks(prepared.text, quality, limits),
        )
        for place, (prepared, quality, limits) in enumerate(texts)
    ]


def _measures(text: str, language: str, quality: Quality | None, limits: ConversionLimits) -> Measures | None:
    if not (quality and quality.digest):
        return None
    from tidemill_ingest.quality.measuring import measure  # noqa: PLC0415 - a library that only the processes use

    return measure(text, language=language, within=limits.measured_characters)


def _fingerprints(texts: Sequence[tuple[Prepared, Quality | None, ConversionLimits]]) -> Mapping[int, Fingerprint]:
    """Return the fingerprints of the texts that are compared with others, by their places; all have the same limit."""
    compared = {
        place: prepared.text for place, (prepared, quality, _) in enumerate(texts) if quality and quality.duplicates
    }
    if not compared:
        return {}
    from tidemill_ingest.quality.shingling import fingerprints  # noqa: PLC0415 - ditto

    (within,) = {limits.measured_characters for _, _, limits in texts}
    return dict(zip(compared, fingerprints([*compared.values()], within=within), strict=True))


def _traits(text: str, language: str, limits: ConversionLimits) -> Traits:
    from tidemill_ingest.quality.measuring import traits_of  # noqa: PLC0415 - ditto

    return traits_of(text, language=language, within=limits.measured_characters)


def _blocks(text: str, quality: Quality | None, limits: ConversionLimits) -> tuple[TextBlock, ...]:
    if not quality or quality.boilerplate is not BoilerplatePolicy.REMOVE:
        return ()
    return blocks_of(text, max_blocks=limits.counted_blocks)


def read_members(  # noqa: PLR0913, PLR0917 - a file, and how it is read
    content: bytes,
    held: HeldFile,
    paths: Collection[str],
    masking: Masking,
    phone_regions: Sequence[str] = DEFAULT_PHONE_REGIONS,
    limits: ConversionLimits | None = None,
) -> Mapping[str, ReadMember]:
    """Return the bytes of some files inside of a file, not masked yet.

    Raises:
        DocumentRefused: the file cannot be opened any more.

    """
    from tidemill_ingest.masking.stage import MaskingStage  # noqa: PLC0415
    from tidemill_ingest.parsing import members  # noqa: PLC0415

    within = (limits or ConversionLimits()).within(held.allowance)
    mask = MaskingStage(masking, phone_regions).mask
    return members.read(content, held.media_type, within, mask=mask, paths=paths)


def masked_name(stage: "MaskingStage", name: str) -> str:
    """Return the name of a place; cut behind the masking, which half an address would pass."""
    return stage.mask(clean_line(name))[:_NAME_LENGTH]


def mask_text(text: str, phone_regions: Sequence[str] = DEFAULT_PHONE_REGIONS) -> str:
    """Return a short text with everything masked."""
    from tidemill_ingest.masking.stage import MaskingStage  # noqa: PLC0415

    return MaskingStage(Masking(), phone_regions).mask(clean(text))


class ProcessPreparation:
    """Implements `ports.Preparation`, and is the component that starts and stops the processes."""

    def __init__(
        self,
        processes: Processes,
        *,
        names: NameMasking,
        phone_regions: Sequence[str],
        limits: ConversionLimits | None = None,
        profiled: bool = True,
    ) -> None:
        self._processes = processes
        self._profiled = profiled
        self._names = names
        self._phone_regions = tuple(phone_regions)
        self._limits = limits or ConversionLimits()
        self._together = BatchedByKey(
            self._prepare_all,
            max_concurrent=processes.share,
            max_batch=_MAX_TOGETHER,
            spread=True,
            weigh=lambda each: len(each.content) / _SMALL_BYTES,
        )

    async def start(self) -> None:
        """Start the processes, so that the first document does not wait for them."""
        await self.mask("", "")

    async def stop(self) -> None:
        """Stop them; what is in work is given up."""
        await self._processes.stop()

    async def prepare(  # noqa: PLR0913 - a document, and the rules of its source
        self,
        caller: Caller,
        spec: DocumentSpec,
        content: bytes,
        *,
        masking: Masking,
        quality: Quality | None = None,
        allowance: Allowance | None = None,
        tokens_key: bytes | None = None,
    ) -> Prepared:
        """See `ports.Preparation.prepare`. Small documents that wait for a process are prepared by one call."""
        limits = self._limits.within(allowance)
        submitted = Submitted(spec, content, masking, limits, quality, tokens_key)
        with PREPARATION.time():
            outcome = await self._together(caller.project, submitted) if submitted.is_small else None
            if isinstance(outcome, Refused):
                raise outcome.error
            prepared = await self._prepare_alone(caller.project, submitted) if outcome is None else outcome
            if not masking.model:
                return prepared
            masked = await self._names.mask(caller, prepared, masking, tokens_key=tokens_key)
            if is_listing(spec.media_type):
                return masked
            return await self._processes.run(caller.project, digested, masked, quality, limits, self._profiled)

    async def _prepare_all(self, project: str, submitted: Sequence[Submitted]) -> Sequence[Prepared | Refused | None]:
        """Prepare small documents; None of each where one has broken the call of all, so that each is to be alone."""
        if len(submitted) == 1:
            return [await self._prepare_alone(project, submitted[0])]
        arguments = (prepare_documents, submitted, self._phone_regions, self._profiled)
        return await self._processes.run_together(project, *arguments) or [None] * len(submitted)

    async def _prepare_alone(self, project: str, submitted: Submitted) -> Prepared:
        each = submitted
        more = (each.limits, each.quality, each.tokens_key, self._profiled)
        return await self._processes.run(
            project, prepare_document, each.spec, each.content, each.masking, self._phone_regions, *more
        )

    async def read_members(
        self, project: str, content: bytes, held: HeldFile, *, paths: Collection[str], masking: Masking
    ) -> Mapping[str, ReadMember]:
        """See `ports.Preparation.read_members`."""
        return await self._processes.run(
            project, read_members, content, held, frozenset(paths), masking, self._phone_regions, self._limits
        )

    async def mask(self, project: str, text: str) -> str:
        """See `ports.Preparation.mask`."""
        return await self._processes.run(project, mask_text, text, self._phone_regions)


def _shortened(title: str) -> str:
    return title if len(title) <= _TITLE_LENGTH else title[: _TITLE_LENGTH - 1] + "…"
