"""Prompts as documents."""

from tidemill_inference.prompts.domain.prompt import Prompt
from tidemill_kit.mapping import DocumentCodec

PROMPTS = DocumentCodec(Prompt)
