"""Prompts as documents."""

from tidemill_inference.prompts.domain.prompt import Prompt
from tidemill_kit.mapping import DocumentCodec, Form

PROMPTS = DocumentCodec(Prompt, {Prompt: Form(sparse={"label_protection", "label_moves"})})
