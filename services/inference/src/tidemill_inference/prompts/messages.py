"""Prompts as messages of the contract."""

from tidemill.inference.v1 import prompt_pb2
from tidemill_inference.prompts.domain.prompt import Prompt
from tidemill_kit.mapping import to_message


def prompt_message(prompt: Prompt) -> prompt_pb2.Prompt:
    """Return the whole resource."""
    latest = prompt.latest
    return to_message(prompt_pb2.Prompt, prompt, content=latest.content, latest_version=latest.number)
