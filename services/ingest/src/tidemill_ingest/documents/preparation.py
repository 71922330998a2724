"""Bytes in, what may be stored out: extraction, cleaning and masking, in processes of their own."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
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
from tidemill_ingest.processes import Processes
from tidemill_ingest.quality.boilerplate import TextBlock, blocks_of
from tidemill_ingest.quality.fingerprint import Fingerprint
from tidemill_ingest.quality.policy import BoilerplatePolicy, Measures, Quality
from tidemill_ingest.quality.traits import Traits

if TYPE_CHECKING:
    from tidemill_ingest.masking.stage import MaskingStage

_TITLE_LENGTH = 500
_NAME_LENGTH = 200


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
    from tidemill_ingest.masking.pseudonyms import Pseudonyms  # noqa: PLC0415 - libraries that only the processes use
    from tidemill_ingest.masking.stage import MaskingStage  # noqa: PLC0415
    from tidemill_ingest.parsing import members  # noqa: PLC0415
    from tidemill_ingest.parsing.text import extract  # noqa: PLC0415

    limits = limits or ConversionLimits()
    extracted = extract(content, spec.media_type, limits)
    pseudonyms = Pseudonyms(tokens_key, phone_regions) if tokens_key else None
    stage = MaskingStage(masking, phone_regions, pseudonyms)
    title = stage.mask(clean_line(spec.title) or _shortened(extracted.title))
    text, starts = stage.mask_with_places(extracted.text, [anchor.start for anchor in extracted.anchors])
    prepared = Prepared(
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
    if masking.model or is_listing(spec.media_type):
        return prepared
    return digested(prepared, quality, limits, profiled)


def digested(
    prepared: Prepared,
    quality: Quality | None,
    limits: ConversionLimits,
    profiled: bool = True,  # noqa: FBT001, FBT002 - positional, because it goes to another process
) -> Prepared:
    """Return it with what its text is compared, counted and profiled by."""
    return replace(
        prepared,
        fingerprint=_fingerprint(prepared.text, quality, limits),
        traits=_traits(prepared.text, prepared.language, limits) if profiled else None,
        blocks=_blocks(prepared.text, quality, limits),
    )


def _measures(text: str, language: str, quality: Quality | None, limits: ConversionLimits) -> Measures | None:
    if not (quality and quality.digest):
        return None
    from tidemill_ingest.quality.measuring import measure  # noqa: PLC0415 - a library that only the processes use

    return measure(text, language=language, within=limits.measured_characters)


def _fingerprint(text: str, quality: Quality | None, limits: ConversionLimits) -> Fingerprint | None:
    if not (quality and quality.duplicates):
        return None
    from tidemill_ingest.quality.shingling import fingerprint  # noqa: PLC0415 - ditto

    return fingerprint(text, within=limits.measured_characters)


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
        """See `ports.Preparation.prepare`."""
        limits = self._limits.within(allowance)
        more = (limits, quality, tokens_key, self._profiled)
        with PREPARATION.time():
            prepared = await self._processes.run(
                caller.project, prepare_document, spec, content, masking, self._phone_regions, *more
            )
            if not masking.model:
                return prepared
            masked = await self._names.mask(caller, prepared, masking, tokens_key=tokens_key)
            if is_listing(spec.media_type):
                return masked
            return await self._processes.run(caller.project, digested, masked, quality, limits, self._profiled)

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
