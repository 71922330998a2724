"""A server that answers as vLLM's does, in a process of its own; standard library only.

It says `max_tokens` times the last token of the prompt as a letter, one every 10 ms; an adapter says it in capitals.
An adapter is read when it is loaded; one that was loaded in place also for every step that it is part of.
It ends at once with a model whose folder has a file `broken`, and refuses an adapter whose folder has one. With the
seed BREAKS_OFF an answer ends after its first token; with DIES_WITHIN the server is also broken from then on.
"""

import json
import os
import sys
import threading
import time
from argparse import ArgumentParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PAUSE_S = 0.01
BREAKS_OFF, DIES_WITHIN = 13, 14


class State:
    """Of the server."""

    key = os.environ.get("VLLM_API_KEY", "")
    name = "base"
    model = Path()
    context = 0
    began = time.time()
    adapters: dict[str, str] = {}  # noqa: RUF012 - one server a process
    reads: dict[str, int] = {}  # noqa: RUF012 - ditto
    in_place: set[str] = set()  # noqa: RUF012 - ditto
    running = 0
    dead = False
    asked: list[dict[str, Any]] = []  # noqa: RUF012 - ditto
    lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer what vLLM's server is asked about itself."""
        match self.path:
            case "/v1/models":
                base = {"id": State.name, "root": str(State.model), "parent": None, "max_model_len": State.context}
                adapters = [{"id": name, "root": root, "parent": "base"} for name, root in State.adapters.items()]
                self._json({"data": [base, *adapters]})
            case "/version":
                self._json({"version": "0.0.1"})
            case "/metrics":
                lines = {"num_requests_running": State.running, "num_requests_waiting": 2, "kv_cache_usage_perc": 0.25}
                text = "".join(f'vllm:{name}{{engine="0"}} {value}\n' for name, value in lines.items())
                text += f"process_start_time_seconds {State.began}\n"
                self._send(200, text.encode(), kind="text/plain")
            case "/health":
                self._send(503 if State.dead else 200, b"", kind="text/plain")
            case "/asked":
                self._json(State.asked)
            case _:
                self._json({"error": {"message": "no such path", "code": 404}}, status=404)

    def do_POST(self) -> None:
        """Answer a completion, or load or unload an adapter."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if State.key and self.headers["authorization"] != f"Bearer {State.key}":
            self._json({"error": "unauthorized"}, status=401)
            return
        match self.path:
            case "/v1/load_lora_adapter":
                if (Path(body["lora_path"]) / "broken").exists():
                    self._json({"error": {"message": "rank", "type": "BadRequestError", "code": 400}}, status=400)
                    return
                self._load(body["lora_name"], body["lora_path"], in_place=bool(body.get("load_inplace")))
            case "/v1/unload_lora_adapter":
                if State.adapters.pop(body["lora_name"], None) is None:
                    self._json({"error": {"message": "not found", "code": 404}}, status=404)
                    return
                self._send(200, b"Success", kind="text/plain")
            case "/v1/completions":
                self._complete(body)

    def _load(self, name: str, folder: str, *, in_place: bool) -> None:
        with State.lock:
            if name in State.adapters and not in_place:
                self._json({"error": {"message": "has been loaded", "code": 400}}, status=400)
                return
            State.adapters[name] = folder
            State.reads[name] = State.reads.get(name, 0) + 1
            if in_place:
                State.in_place.add(name)
        self._send(200, b"Success", kind="text/plain")

    def _complete(self, body: dict[str, Any]) -> None:
        State.asked.append(body)
        if body["model"] not in {State.name, *State.adapters}:
            self._json({"error": {"message": "no such model", "code": 404}}, status=404)
            return
        letter = chr(97 + body["prompt"][-1] % 26)
        letter = letter.upper() if body["model"] in State.adapters else letter
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        with State.lock:
            State.running += 1
        try:
            for number in range(body["max_tokens"]):
                if number and body.get("seed") in {BREAKS_OFF, DIES_WITHIN}:
                    State.dead = body["seed"] == DIES_WITHIN
                    self.close_connection = True
                    return
                if body["model"] in State.in_place:
                    State.reads[body["model"]] += 1
                self._event({"choices": [{"index": 0, "text": letter, "finish_reason": None, "logprobs": None}]})
                time.sleep(PAUSE_S)
            self._event({"choices": [{"index": 0, "text": "", "finish_reason": "length", "logprobs": None}]})
            usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": body["max_tokens"]}
            self._event({"choices": [], "usage": usage})
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.close_connection = True
        finally:
            with State.lock:
                State.running -= 1
        self.close_connection = True

    def _event(self, event: object) -> None:
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.flush()

    def _json(self, value: object, *, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), kind="application/json")

    def _send(self, status: int, body: bytes, *, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say that something was asked."""
        sys.stderr.write("asked\n")


def main() -> None:
    """Serve."""
    parser = ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--max-model-len", type=int, default=512)
    parser.add_argument("--served-model-name", default="base")
    given, _ = parser.parse_known_args()
    State.model, State.context, State.name = given.model, given.max_model_len, given.served_model_name
    if (given.model / "broken").exists():
        sys.exit("this model cannot be loaded")
    server = ThreadingHTTPServer(("127.0.0.1", given.port), Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
