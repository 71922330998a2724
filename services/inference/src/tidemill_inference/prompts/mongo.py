"""Prompts as documents."""

from tidemill_inference.prompts.domain.prompt import Prompt, PromptVersion
from tidemill_inference.prompts.messages import event_message
from tidemill_kit.mapping import DocumentCodec, Form

PROMPTS = DocumentCodec(
    Prompt,
    {
        Prompt: Form(sparse={"label_protection", "label_moves", "forked_from"}),
        PromptVersion: Form(sparse={"merged_from", "contains", "contains_after", "contributors"}),
    },
    event=event_message,
)
