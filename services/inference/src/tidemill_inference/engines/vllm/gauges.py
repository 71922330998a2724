"""What vLLM says of its queue and its cache, as metrics of inference."""

from collections.abc import Mapping
from contextlib import suppress

from prometheus_client import Counter, Gauge

UP = Gauge("tidemill_vllm_up", "1 while vLLM answers for a base model.", ["model"])
RESTARTS = Counter("tidemill_vllm_restarts", "Ends of a vLLM server after which it was started again.", ["model"])
_GAUGES: Mapping[str, Gauge] = {
    "num_requests_running": Gauge("tidemill_vllm_requests_running", "Answers in vLLM's batch.", ["model"]),
    "num_requests_waiting": Gauge("tidemill_vllm_requests_waiting", "Answers that wait in vLLM's queue.", ["model"]),
    "kv_cache_usage_perc": Gauge("tidemill_vllm_cache_usage", "The share of vLLM's cache in use, 0 to 1.", ["model"]),
    "num_preemptions": Gauge("tidemill_vllm_preemptions", "Answers that had to give up their cache.", ["model"]),
    "prefix_cache_queries": Gauge(
        "tidemill_vllm_prefix_tokens", "Tokens of prompts looked up in the cache.", ["model"]
    ),
    "prefix_cache_hits": Gauge("tidemill_vllm_prefix_hits", "Tokens of prompts found in the cache.", ["model"]),
}


def record(model: str, said: Mapping[str, float]) -> None:
    """Pass on what a server says."""
    for name, gauge in _GAUGES.items():
        if name in said:
            gauge.labels(model).set(said[name])


def forget(model: str) -> None:
    """Drop a model's series."""
    for metric in (UP, RESTARTS, *_GAUGES.values()):
        with suppress(KeyError):
            metric.remove(model)
