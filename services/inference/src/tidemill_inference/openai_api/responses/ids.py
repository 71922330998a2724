"""Ids of responses: those of their inferences, in OpenAI's form."""

import re
from uuid import UUID

ABSENT = str(UUID(int=0))
"""The id of no inference."""
_FORM = re.compile(r"resp_([0-9a-f]{32})")


def response_id(inference: str) -> str:
    """Return what clients call an inference."""
    return f"resp_{_hex(inference)}"


def inference_id(response: str) -> str:
    """Return the inference that a client names; what is no id names none."""
    found = _FORM.fullmatch(response)
    return str(UUID(found.group(1))) if found else ABSENT


def item_id(kind: str, inference: str, number: int | str) -> str:
    """Return the id of an item, which is the same whenever it is shown."""
    return f"{kind}_{_hex(inference)}_{number}"


def _hex(inference: str) -> str:
    return inference.replace("-", "")
