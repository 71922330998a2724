"""A minimal base and a train split for it."""

import json
from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_base(  # noqa: PLR0913 - keyword-only, and each of another kind
    folder: Path,
    *,
    broken: bool = False,
    context: int = 512,
    hidden: int = 32,
    layers: int = 2,
    tied: bool = False,
) -> Path:
    """Write a random byte-level model with tokenizer and template; the weights of a broken one are NaN."""
    import torch  # noqa: PLC0415 - only tests that train pay for it
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: PLC0415

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE(vocab={char: number for number, char in enumerate(alphabet)}, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_only, additional_special_tokens=["<|im_start|>"])
    tokenizer.add_special_tokens({"pad_token": "<|im_end|>", "eos_token": "<|end|>"})
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=tied,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    if broken:
        model.model.norm.weight.data.fill_(float("nan"))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def example_lines(count: int = 24, *, words: int = 0, rejecting: bool = False) -> bytes:
    """Return a train split in ingest's format, one feedback.v1.Example per line, with this many words before the
    question; `rejecting` ones are preferences.
    """
    rejected = {"rejected": {"role": "ROLE_ASSISTANT", "parts": [{"text": "It is unknown."}]}}
    more = {"kind": "EXAMPLE_KIND_PREFERENCE", **rejected} if rejecting else {}
    lines = [
        json.dumps(
            {
                "id": str(number),
                "question": f"What is {number}?",
                "messages": [
                    {"role": "ROLE_SYSTEM", "parts": [{"text": "Answer."}]},
                    {"role": "ROLE_USER", "parts": [{"text": "passage " * words + f"What is {number}?"}]},
                ],
                "output": {"role": "ROLE_ASSISTANT", "parts": [{"text": f"It is {number % 3}."}]},
                **more,
            }
        )
        for number in range(count)
    ]
    return "\n".join(lines).encode() + b"\n"
