"""Return what pseudonyms of a document stand for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_ingest.documents.crud import ReadDocuments
from tidemill_ingest.documents.domain.submission import DocumentName
from tidemill_ingest.documents.ports import Texts
from tidemill_ingest.masking.tokens import TOKEN
from tidemill_ingest.pseudonyms.ports import ProjectSecrets

MAX_REVEALED = 100
"""Pseudonyms of one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealed:
    """What pseudonyms stand for, and which of those that were asked for the version does not have."""

    version: int
    values: Mapping[str, str]
    unknown: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RevealPseudonyms:
    """Changes nothing. What they stand for is with the text of the version, and goes with it."""

    reading: ReadDocuments
    texts: Texts
    secrets: ProjectSecrets

    async def __call__(self, caller: Caller, name: DocumentName, *, number: int, pseudonyms: Sequence[str]) -> Revealed:
        """Return the values of some pseudonyms in a version, 0 being the current one.

        Raises:
            InvalidInput: there are none or too many of them, or one is no pseudonym.
            DocumentNotFound, VersionNotFound: there is no such thing, or the caller does not read it.
            TextGone: the text was erased, or its retention ended, and the values with it.
            PseudonymsUnreadable: they do not open by the project's key.

        """
        _check(pseudonyms)
        document, version = await self.reading.kept_version(caller, name, number=number)
        try:
            sealed = await self.texts.sealed_pseudonyms(version.object)
        except NotFound as error:
            raise self.reading.gone(document, version) from error
        values: Mapping[str, str] = {}
        if sealed is not None:
            secret = await self.secrets.get(caller, create=False)
            values = await secret.open(sealed, document.id, version.provenance.submission.id)
        asked = dict.fromkeys(pseudonyms)
        return Revealed(
            version=version.number,
            values={each: values[each] for each in asked if each in values},
            unknown=[each for each in asked if each not in values],
        )


def _check(pseudonyms: Sequence[str]) -> None:
    if not 1 <= len(pseudonyms) <= MAX_REVEALED:
        raise InvalidInput.at(field="pseudonyms", text=f"has {len(pseudonyms)} entries; send 1 to {MAX_REVEALED}")
    for number, each in enumerate(pseudonyms):
        if not TOKEN.fullmatch(each):  # it is not repeated: it may be what it should stand for
            text = "is no pseudonym: send it as it is in the text, such as [EMAIL:k3f9wq7hd2mzxp]"
            raise InvalidInput.at(field=f"pseudonyms[{number}]", text=text)
