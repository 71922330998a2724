"""Which models keep the examples of a packed sequence apart."""

from typing import Any

import pytest

SIZES = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "pad_token_id": 0}
APART: dict[str, tuple[bool, dict[str, int]]] = {
    "LlamaConfig": (True, {"intermediate_size": 32}),
    "GemmaConfig": (True, {"intermediate_size": 32, "num_key_value_heads": 1, "head_dim": 8}),
    "OPTConfig": (False, {"ffn_dim": 32, "word_embed_proj_dim": 16}),
}


@pytest.mark.parametrize("config", APART)
def test_a_model_that_would_mix_packed_examples_is_found(config: str) -> None:
    import torch  # noqa: PLC0415 - seconds of imports
    import transformers  # noqa: PLC0415 - ditto
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling  # noqa: PLC0415 - ditto

    from tidemill_trainer.learning.packing import keeps_apart  # noqa: PLC0415 - ditto

    torch.manual_seed(1)
    apart, more = APART[config]
    model: Any = transformers.AutoModelForCausalLM.from_config(getattr(transformers, config)(**SIZES, **more))
    collator = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)

    assert keeps_apart(model, collator) is apart
