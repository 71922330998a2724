"""How well questions find their documents: chunked, as rag does it, against bare MiniLM over whole documents.

Run `python services/rag/tests/bench/retrieval.py` in the repository. The corpus is examples/helpdesk/corpus.py, about
1,000 documents of the standard library; 200 questions; a hit is the right document among the first k passages. Bare
MiniLM is one vector a document, cut at 256 tokens. Prints one JSON line, and exits with 1 when rag is worse by more
than 0.01.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from services.rag.tests.tokenizing import tokenizer_here
from tidemill_kit.models.bounded_tokenizers import with_tokenizer
from tidemill_kit.models.numeric_format import computed_format
from tidemill_local.models import EMBEDDINGS
from tidemill_local.places import MODELS

sys.path.append(str(Path(__file__).parents[4] / "examples" / "helpdesk"))
import corpus  # type: ignore[import-not-found]  # an example, which is no package

from tidemill_rag.embedding.domain import passage_vector
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.tokenizer import spans
from tidemill_rag.embedding.transformers import EmbeddingConfig, TransformersEmbedding
from tidemill_rag.indexing.domain.chunking import Cut, chunk

TOLERANCE = 0.01


async def main() -> int:
    """Measure and print."""
    threads, numeric_format = EmbeddingThreads(os.cpu_count() or 1), computed_format("auto")
    folder = MODELS / EMBEDDINGS
    tokenizer, config = tokenizer_here(folder), EmbeddingConfig.of(folder)
    model = await threads.run(
        "bench", lambda: TransformersEmbedding(folder, threads, tokenizer, config, numeric_format=numeric_format)
    )
    documents = corpus.documents()
    asked = corpus.questions(documents, 200)
    questions = torch.tensor([await model.embed_query("acme", each.question) for each in asked])
    right = [each.key for each in asked]
    begun = time.perf_counter()
    plain = await model.embed_passages("acme", [each.text for each in documents])
    plain_s = time.perf_counter() - begun
    cut = Cut(max_tokens=256, overlap_tokens=32, special=model.special_tokens)
    tokenize = partial(with_tokenizer, folder / "tokenizer.json", spans)
    chunks = [
        (each.key, piece)
        for each in documents
        for piece in chunk(each.text, media_type=each.media_type, title=each.title, tokenize=tokenize, cut=cut)
    ]
    begun = time.perf_counter()
    texts = await model.embed_passages("acme", [piece.embedded for _, piece in chunks])
    contexts = list(dict.fromkeys(piece.context for _, piece in chunks))
    of_context = dict(zip(contexts, await model.embed_passages("acme", contexts), strict=True))
    chunked = [passage_vector(text, of_context[piece.context]) for text, (_, piece) in zip(texts, chunks, strict=True)]
    chunked_s = time.perf_counter() - begun
    found = _hits(questions, chunked, [key for key, _ in chunks], right)
    bare = _hits(questions, texts, [key for key, _ in chunks], right)
    whole = _hits(questions, plain, [each.key for each in documents], right)
    report = {
        "numeric_format": numeric_format,
        "documents": len(documents),
        "chunks": len(chunks),
        "questions": len(right),
        "hit_at_1": found[0],
        "hit_at_2": found[1],
        "without_context_vector": bare,
        "plain_hit_at_1": whole[0],
        "plain_hit_at_2": whole[1],
        "seconds_plain": round(plain_s, 1),
        "seconds_chunked": round(chunked_s, 1),
    }
    sys.stdout.write(json.dumps(report) + "\n")
    return int(any(mine < theirs - TOLERANCE for mine, theirs in zip(found, whole, strict=True)))


def _hits(
    questions: torch.Tensor, vectors: Sequence[Sequence[float]], owners: Sequence[str], right: Sequence[str]
) -> tuple[float, float]:
    best = (questions @ torch.tensor(vectors).T).topk(2).indices.tolist()
    tops = [[owners[position] for position in positions] for positions in best]
    first = sum(top[0] == key for top, key in zip(tops, right, strict=True))
    second = sum(key in top for top, key in zip(tops, right, strict=True))
    return first / len(right), second / len(right)


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
