"""A server that speaks the OpenAI chat API on the loopback, with the miniature's words and scripted roles.

(`transformers serve` would run the miniature's checkpoint, but it ignores `logprobs`.)
"""

import json
import math
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

from miniature.grammar import agent_reply, kind_of_user
from miniature.scripted import Answer, judge, speak_as_user
from tests.support.json_handler import JsonHandler


def answer(body: Mapping[str, Any]) -> Answer:
    messages = body["messages"]
    system = "\n".join(m["content"] for m in messages if m["role"] == "system")
    last = messages[-1]["content"]
    rng = random.Random(json.dumps(messages))
    if body["model"] == "judge":
        return judge(system, last, rng)
    if body["model"] == "user":
        return speak_as_user(system, "", last, rng)
    kind = kind_of_user(" ".join(m["content"] for m in messages))
    world = {"act": "do it", "step": "wait a day"}
    reply = agent_reply(rng, world, kind, "therapy", harmful=rng.random() < 0.3)
    return Answer(reply, {reply: 1.0})


def logprobs(found: Answer, alternatives: int) -> dict[str, Any]:
    def entry(token: str, probability: float) -> dict[str, Any]:
        return {"token": token, "logprob": math.log(probability), "bytes": list(token.encode())}

    ranked = sorted(found.probabilities.items(), key=lambda item: -item[1])[:alternatives]
    top = [entry(t, p) for t, p in ranked if p > 0]
    return {"content": [{**entry(found.text, found.probabilities[found.text]), "top_logprobs": top}]}


class _Handler(JsonHandler):
    server: "_Server"  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:  # noqa: N802
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        if self.server.refuses is not None and (problem := self.server.refuses(body)) is not None:
            self._say(400, {"error": {"message": problem, "type": "invalid_request_error", "code": None}})
            return
        found = answer(body)
        wanted = body.get("logprobs") and self.server.gives_logprobs
        payload = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": found.text},
                    "finish_reason": "stop",
                    "logprobs": logprobs(found, body.get("top_logprobs", 0)) if wanted else None,
                }
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        self._say(200, payload)


class _Server(ThreadingHTTPServer):
    requests: list[dict[str, Any]]
    gives_logprobs: bool
    refuses: Callable[[Mapping[str, Any]], str | None] | None = None
    """What is said of a request that is not taken."""


@contextmanager
def openai_stub() -> Iterator[_Server]:
    """A running server; its address is `server.server_address`."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.requests, server.gives_logprobs = [], True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
