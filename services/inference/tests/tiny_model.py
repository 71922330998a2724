"""A real model of the smallest kind, made on the spot: random weights, a tokenizer of bytes, a chat template."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tidemill_core.aggregate import ObjectRef
from tidemill_core.models.manifest import Manifest
from tidemill_kit.store.objects import ObjectStore

END = "<|end|>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOL_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}"
    "Call one in <tool_call></tool_call>.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "{% for call in message.tool_calls or [] %}<tool_call>\n"
    "{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}\n</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Shows tools, and has them called, as Hermes does."""


def write_tiny_model(  # noqa: PLR0913 - keyword-only, and each of another kind
    folder: Path,
    *,
    seed: int = 7,
    context: int = 512,
    ends: bool = False,
    template: str = TEMPLATE,
    special: tuple[str, ...] = (),
) -> Path:
    """Write a model whose tokens are one byte, or `special`; unless it `ends`, it talks until it is stopped."""
    tokenizer = _tokenizer(special)
    tokenizer.chat_template = template
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer) if ends else tokenizer.eos_token_id,  # what is not in it cannot be said
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        eos_token_id=tokenizer.eos_token_id if ends else None,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.4,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_tiny_adapter(folder: Path, base: Path, *, seed: int = 1, rank: int = 4, **settings: Any) -> Path:  # noqa: ANN401 - of peft
    """Write a LoRA adapter of a tiny model with random weights, as the trainer stores one."""
    torch.manual_seed(seed)
    recipe = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM", **settings)
    adapted = get_peft_model(LlamaForCausalLM.from_pretrained(base), recipe)
    for name, parameter in adapted.named_parameters():
        if "lora_magnitude" in name:
            parameter.data *= torch.rand(len(parameter)) + 0.5
        elif "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    adapted.save_pretrained(str(folder))
    return folder


async def upload(store: ObjectStore, bucket: str, project: str, folder: Path) -> tuple[str, dict[str, ObjectRef]]:
    """Put the files where the trainer would, and return the manifest's digest and the references."""
    manifest = Manifest.from_folder(folder)
    references = {}
    for file in manifest.files:
        key = f"{project}/tiny@1/{file.sha256}"
        await store.put_file(bucket, key, folder / file.path, media_type="application/octet-stream")
        references[file.path] = ObjectRef(bucket=bucket, key=key, size=file.size, sha256=file.sha256)
    return manifest.digest, references


def _tokenizer(special: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE(vocab={char: number for number, char in enumerate(alphabet)}, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_only, additional_special_tokens=["<|im_start|>", *special]
    )
    tokenizer.add_special_tokens({"pad_token": "<|im_end|>"})
    tokenizer.add_special_tokens({"eos_token": END})  # the last one
    return tokenizer


def add_file(folder: Path, name: str, content: object) -> None:
    """Add a JSON file to a model's folder."""
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
