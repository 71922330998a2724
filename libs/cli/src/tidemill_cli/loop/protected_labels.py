"""The key protect of a prompt in loop.yaml, and the message that it becomes."""

from typing import Annotated

from pydantic import Field

from tidemill.inference.v1.prompt_pb2 import LabelProtection
from tidemill_cli.loop.shapes import Declared, Slug


class ProtectedLabels(Declared):
    """Labels that point only to versions that people other than their creator have approved."""

    labels: Annotated[list[Slug], Field(min_length=1, max_length=20)]
    approvals: Annotated[int, Field(ge=1, le=10, description="by people of the role of approval")] = 1


def protection_of(part: ProtectedLabels) -> LabelProtection:
    """Return the message."""
    return LabelProtection(labels=part.labels, approvals=part.approvals)
