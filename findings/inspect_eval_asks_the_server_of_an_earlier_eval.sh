#!/usr/bin/env bash
# inspect_ai 0.3.285: in one Python process, `eval(..., model="openai-api/lab/m")` asks the server that LAB_BASE_URL named when the
# process first used that model. After LAB_BASE_URL is set to another server the next eval still asks the first one, without a
# word, and writes the same model name into its log; a model of another name at the same service asks the second.
#
# Models are kept by the arguments of `get_model`. An address or a key that a provider reads from the environment is read once and
# is no part of that. So a notebook that points the variable at the next checkpoint's server (the name being the same) measures the
# earlier checkpoint again; if that server is gone, the eval tries to reach it again and again. `model_base_url=` is an argument and
# is heeded.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check inspect_ai==0.3.285 openai==3.52.0 2>/dev/null
cd "$work"
"$work/venv/bin/python" - <<'PY'
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import inspect_ai
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.solver import generate


def server(name):
    """A chat completions server on the loopback that answers with its name; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": name}}
            body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{found.server_port}/v1"


def answer(model, **how):
    task = Task(dataset=[Sample(input="Who are you?")], solver=generate())
    (log,) = eval(task, model=model, display="none", log_dir="logs", **how)
    return log.samples[0].output.completion


first, second = server("first"), server("second")
os.environ |= {"LAB_API_KEY": "none", "LAB_BASE_URL": first}
before = answer("openai-api/lab/m")
os.environ["LAB_BASE_URL"] = second
after = answer("openai-api/lab/m")
other = answer("openai-api/lab/n")
given = answer("openai-api/lab/m", model_base_url=second)
print("inspect_ai", inspect_ai.__version__)
print("LAB_BASE_URL=first: ", before)
print("LAB_BASE_URL=second:", after, "| another model's name:", other, "| model_base_url=second:", given)
assert (before, after, other, given) == ("first", "first", "second", "second")
PY
