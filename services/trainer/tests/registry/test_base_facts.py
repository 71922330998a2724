"""Facts of a base from its files."""

from tidemill_trainer.registry.domain.base_facts import MAX_MODULES, BaseFacts, FileFacts, modules_of

TENSORS = [
    *(
        (f"model.layers.{layer}.{part}.weight", 2)
        for layer in range(30)
        for part in ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.experts.7.w1")
    ),
    ("model.layers.0.input_layernorm.weight", 1),
    ("model.layers.0.self_attn.q_proj.bias", 1),
    ("model.embed_tokens.weight", 2),
]
FACTS = BaseFacts.of([("model.safetensors", FileFacts(modules=modules_of(TENSORS)))])


def test_modules_of_all_layers_are_kept_once() -> None:
    assert modules_of(TENSORS) == (
        "model.embed_tokens",
        "model.layers.*.mlp.experts.*.w1",
        "model.layers.*.mlp.up_proj",
        "model.layers.*.self_attn.o_proj",
        "model.layers.*.self_attn.q_proj",
    )
    assert FACTS.names == ["o_proj", "q_proj", "up_proj", "w1"]


def test_a_target_is_a_module_or_the_end_of_its_path() -> None:
    there = ["q_proj", "self_attn.q_proj", "layers.3.self_attn.q_proj", "model.layers.3.self_attn.q_proj", "7.w1"]
    missing = ["query_key_value", "proj", "mlp.q_proj", "input_layernorm", "layers.q_proj"]

    assert [name for name in there if FACTS.has(name)] == there
    assert [name for name in missing if FACTS.has(name)] == []


def test_what_is_not_known_refuses_nothing() -> None:
    some = [("a.safetensors", FileFacts(modules=("x",))), ("b.safetensors", None)]
    many = modules_of([(f"part{number}x.weight", 2) for number in range(MAX_MODULES + 1)])

    assert BaseFacts.of(some).has("anything")
    assert BaseFacts.of([("a.safetensors", FileFacts(modules=many))]).has("anything")
    assert BaseFacts.of([("config.json", None), ("tokenizer_config.json", None)]) == BaseFacts()


def test_a_chat_template_may_stand_in_either_file() -> None:
    config, without = ("tokenizer_config.json", FileFacts(chat_template=True)), ("tokenizer_config.json", FileFacts())
    own = ("chat_template.jinja", FileFacts(chat_template=True))

    assert [BaseFacts.of(files).chat_template for files in ([config], [without, own], [own])] == [True] * 3
    assert BaseFacts.of([without]).chat_template is False
    assert BaseFacts.of([("config.json", FileFacts())]).chat_template is None
