"""Prompts as messages of the contract."""

from tidemill.inference.v1 import prompt_pb2
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent
from tidemill_kit.grpc.requests import etag_of, timestamp_of


def prompt_message(prompt: Prompt) -> prompt_pb2.Prompt:
    """Return the whole resource."""
    return prompt_pb2.Prompt(
        id=prompt.id,
        project=prompt.project,
        seq=prompt.seq,
        etag=etag_of(prompt.version),
        labels=prompt.labels,
        create_time=timestamp_of(prompt.create_time),
        update_time=timestamp_of(prompt.update_time),
        content=_content_message(prompt.latest.content),
        latest_version=prompt.latest.number,
        versions=[
            prompt_pb2.PromptVersion(
                number=version.number,
                digest=version.digest,
                create_time=timestamp_of(version.create_time),
                content=_content_message(version.content),
            )
            for version in prompt.versions
        ],
        version_labels=prompt.version_labels,
    )


def content_of(message: prompt_pb2.PromptContent) -> PromptContent:
    """Return the content that a request carries."""
    return PromptContent(system=message.system, user=message.user, variables_schema=message.variables_schema)


def _content_message(content: PromptContent) -> prompt_pb2.PromptContent:
    return prompt_pb2.PromptContent(system=content.system, user=content.user, variables_schema=content.variables_schema)
