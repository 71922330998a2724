"""Which JSON Schemas of cases are none."""

import asyncio
from collections.abc import Mapping, Sequence

from tidemill_core.application import Caller
from tidemill_evaluator.suites.domain.cases import Case, schema_text
from tidemill_evaluator.suites.ports import Schemas


async def wrong_schemas(schemas: Schemas, caller: Caller, cases: Sequence[Case]) -> Mapping[int, str]:
    """Return what is wrong, by the place of the case; the same schema is checked once.

    What comes behind one that cannot be checked is not checked, and not named.

    Raises:
        RateLimited: too many checks of the project wait already.
        DependencyUnavailable: the machine ended the check.

    """
    texts = await asyncio.to_thread(_texts, cases)
    different = list(dict.fromkeys(texts.values()))
    if not different:
        return {}
    wrong = dict(zip(different, await schemas.wrong_with(caller, different), strict=True))
    return {place: wrong[text] for place, text in texts.items() if wrong[text]}


def _texts(cases: Sequence[Case]) -> dict[int, str]:
    return {place: schema_text(case) for place, case in enumerate(cases) if case.schema is not None}
