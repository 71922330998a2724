"""The retrieval baseline: one MiniLM vector per document.

Reads {"documents": [[key, text], ...], "questions": [[key, question], ...]} from standard input and prints the shares
of questions whose document is the nearest, or among the two nearest.
"""

import argparse
import json
import sys
from collections.abc import Sequence

import torch
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

BATCH = 32


def embed(folder: str, texts: Sequence[str]) -> torch.Tensor:
    """Return one unit vector per text, shape (texts, 384): mean pooling over at most 256 tokens (model card)."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    vectors = torch.empty(len(texts), model.config.hidden_size)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            batch = tokenizer(
                [texts[index] for index in chosen], padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            mask = batch["attention_mask"].unsqueeze(-1)
            pooled = (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
            vectors[chosen] = functional.normalize(pooled, dim=1)
    return vectors


def main() -> None:
    """Print {"hit_at_1": share, "hit_at_2": share}."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="the model's folder")
    arguments = parser.parse_args()
    data = json.load(sys.stdin)
    keys = [key for key, _ in data["documents"]]
    documents = embed(arguments.model, [text for _, text in data["documents"]])
    questions = embed(arguments.model, [question for _, question in data["questions"]])
    nearest = (questions @ documents.T).topk(2, dim=1).indices.tolist()
    expected = [key for key, _ in data["questions"]]
    hits = [[keys[index] == key for index in found] for key, found in zip(expected, nearest, strict=True)]
    result = {"hit_at_1": sum(h[0] for h in hits) / len(hits), "hit_at_2": sum(any(h) for h in hits) / len(hits)}
    print(json.dumps(result))  # noqa: T201 - the program's result


if __name__ == "__main__":
    main()
