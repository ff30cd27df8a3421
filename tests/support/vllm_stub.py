"""A server on the loopback that speaks what the loop needs of vLLM's API, adapters loaded while it runs included."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.json_handler import JsonHandler

KEY = "secret-of-the-server"


class VLLMStub(ThreadingHTTPServer):
    """What it serves, and what it was asked."""

    def __init__(self, base: str, *, lora: bool = True, heeds: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.base, self.lora, self.heeds = base, lora, heeds
        self.adapters: dict[str, str] = {}
        """Name -> path."""

        self.unseen: set[str] = set()
        """Paths that are not on this server's storage."""

        self.requests: list[tuple[str, Any]] = []
        """Path and body of each; of requests without the key the path is `refused`."""

    @property
    def url(self) -> str:
        """Address as `model_base_url` takes it."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def asked(self, path: str) -> list[Any]:
        """Bodies of the requests for a path."""
        return [body for found, body in self.requests if found == path]


class _Handler(JsonHandler):
    server: VLLMStub  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # noqa: N802
        self._answer({})

    def do_POST(self) -> None:  # noqa: N802
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: Mapping[str, Any]) -> None:
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self.server.requests.append(("refused", body))
            self._say(401, {"error": {"message": "Unauthorized"}})
            return
        self.server.requests.append((self.path, body))
        answer = {
            "/v1/models": self._models,
            "/v1/load_lora_adapter": self._load,
            "/v1/chat/completions": self._chat,
        }.get(self.path)
        if answer is None:
            self._problem(404, "Not Found")
        else:
            answer(body)

    def _models(self, _: Mapping[str, Any]) -> None:
        served = [{"id": self.server.base, "object": "model", "max_model_len": 8192}]
        served += [{"id": n, "object": "model", "parent": self.server.base} for n in self.server.adapters]
        self._say(200, {"object": "list", "data": served})

    def _load(self, body: Mapping[str, Any]) -> None:
        name, path = body["lora_name"], body["lora_path"]
        if not self.server.lora:
            self._problem(404, "Not Found")
        elif name in self.server.adapters:
            self._problem(400, f"The lora adapter '{name}' has already been loaded.")
        elif path in self.server.unseen:
            self._problem(400, f"No adapter found for {path}")
        else:
            self.server.adapters[name] = path
            self._say(200, f"Success: LoRA adapter '{name}' added successfully.")

    def _chat(self, body: Mapping[str, Any]) -> None:
        model = body["model"]
        if model != self.server.base and model not in self.server.adapters:
            self._problem(404, f"The model `{model}` does not exist.")
            return
        plain = model == self.server.base or not self.server.heeds
        who = "base" if plain else Path(self.server.adapters[model]).parent.name
        message = {"role": "assistant", "content": f"I am {who}."}
        self._say(
            200,
            {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": model,
                "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            },
        )

    def _problem(self, status: int, message: str) -> None:
        self._say(status, {"error": {"message": message, "type": "BadRequestError", "code": status}})


@contextmanager
def vllm_stub(base: str, *, lora: bool = True, heeds: bool = True) -> Iterator[VLLMStub]:
    """A running server.

    Args:
        base: Name of the weights that it serves.
        lora: Whether it was started with --enable-lora.
        heeds: Whether it answers with an adapter that it loaded.
    """
    server = VLLMStub(base, lora=lora, heeds=heeds)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
