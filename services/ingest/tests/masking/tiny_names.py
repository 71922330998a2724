"""A token classification model small enough for tests: it knows the names that it was made of, and nothing else."""

from collections.abc import Mapping
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, processors

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "B-ORG")
WORDS: Mapping[str, str] = {
    **dict.fromkeys(("ask", "mail", "or", "of", "the", "in", "at", "and", "with", ".", ",", "[", "]", "EMAIL"), "O"),
    "Ada": "B-PER",
    "Grace": "B-PER",
    "Lovelace": "I-PER",
    "Hopper": "I-PER",
    "Berlin": "B-LOC",
    "Paris": "B-LOC",
    "Acme": "B-ORG",
}
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def tiny_model(folder: Path, *, max_tokens: int = 64) -> Path:
    """Write a model and return its folder.

    Its layers are random; the last one is solved, so that each word has its label: nothing is trained.
    """
    import torch  # noqa: PLC0415 - seconds of imports
    from transformers.models.bert import BertConfig, BertForTokenClassification  # noqa: PLC0415

    vocabulary = {word: number for number, word in enumerate((*_SPECIAL, *WORDS))}
    torch.manual_seed(7)
    network = BertForTokenClassification(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=64,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=16,
            max_position_embeddings=max_tokens,
            initializer_range=0.5,
            id2label=dict(enumerate(LABELS)),
            label2id={label: number for number, label in enumerate(LABELS)},
        )
    ).eval()
    with torch.no_grad():
        layers = network.bert
        for part in (layers.embeddings.position_embeddings, layers.embeddings.token_type_embeddings):
            part.weight.zero_()
        for layer in layers.encoder.layer:  # a word alone decides
            layer.attention.output.dense.weight.zero_()
        hidden = network.bert(torch.arange(len(vocabulary)).unsqueeze(1)).last_hidden_state[:, 0]
        labels = torch.tensor([LABELS.index(WORDS.get(word, "O")) for word in vocabulary])
        targets = torch.nn.functional.one_hot(labels, len(LABELS)).float()
        network.classifier.weight.copy_(torch.linalg.lstsq(hidden, targets).solution.T)
        network.classifier.bias.zero_()
    network.save_pretrained(folder, safe_serialization=True)
    _tokenizer(vocabulary).save(str(folder / "tokenizer.json"))
    return folder


def _tokenizer(vocabulary: Mapping[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(dict(vocabulary), unk_token="[UNK]"))  # noqa: S106 - of a vocabulary
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    return tokenizer
