"""What renders chat templates: transformers, which takes a second to import. Only processes for prompts do."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each thread would take address space, which is limited there

from transformers.utils.chat_template_utils import render_jinja_template

__all__ = ["render_jinja_template"]
