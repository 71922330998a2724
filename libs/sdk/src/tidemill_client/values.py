"""Conversion of Python values and texts to protobuf messages and back."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from google.protobuf.struct_pb2 import Struct

from tidemill.content.v1.content_pb2 import Message, Part, Role
from tidemill.inference.v1.inference_pb2 import Inference

Json: TypeAlias = str | float | bool | Sequence["Json"] | Mapping[str, "Json"] | None


def struct_of(values: Mapping[str, Json]) -> Struct:
    """Return the values as a Struct, which stores numbers as doubles."""
    struct = Struct()
    struct.update(dict(values))
    return struct


def user(text: str) -> Message:
    """Return a user message."""
    return Message(role=Role.ROLE_USER, parts=[Part(text=text)])


def assistant(text: str) -> Message:
    """Return an assistant message."""
    return Message(role=Role.ROLE_ASSISTANT, parts=[Part(text=text)])


def text_of(inference: Inference) -> str:
    """Return the text of an answer, or its JSON, without its citations."""
    return "".join(part.text or part.json for message in inference.output for part in message.parts)
