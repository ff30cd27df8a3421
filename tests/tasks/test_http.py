"""The task over HTTP, through Inspect's own provider for OpenAI-compatible servers."""

import pytest
from inspect_ai import eval  # noqa: A004

from tasks.therapy import therapy
from tests.support.conversations import the_samples
from tests.support.openai_stub import openai_stub

ROLES = {"user": "openai-api/stub/user", "judge": "openai-api/stub/judge"}


@pytest.fixture(scope="module")
def server():
    # one for all tests: Inspect keeps the models it made, with the address they were made for
    with openai_stub() as found, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUB_BASE_URL", f"http://127.0.0.1:{found.server_port}/v1")
        patch.setenv("STUB_API_KEY", "a-secret-of-this-test")
        for service in ("PROXY", "BROKE"):  # what is learnt of one service is none of another's
            patch.setenv(f"{service}_BASE_URL", f"http://127.0.0.1:{found.server_port}/v1")
            patch.setenv(f"{service}_API_KEY", "another")
        yield found
        found.refuses = None


@pytest.fixture
def serve(server, tmp_path):
    def run(*, gives_logprobs: bool, **arguments):
        server.gives_logprobs = gives_logprobs
        server.requests.clear()
        (log,) = eval(
            therapy(states=2, topics="smoking,gambling", turns=2, **arguments),
            model="openai-api/stub/agent",
            model_roles=ROLES,  # pyright: ignore
            log_dir=str(tmp_path),
            display="none",
            log_realtime=False,
            max_retries=2,
        )
        return log, server.requests

    return run


def test_with_log_probabilities(serve, tmp_path):
    log, requests = serve(gives_logprobs=True)
    for sample in the_samples(log):
        turn = sample.scores["preference"].metadata["turns"][0]
        assert 1 <= sample.scores["preference"].value <= 10
        assert turn["mode"] == "logprobs"
        assert turn["mass"] > 0.99
        assert turn["model"] == "openai-api/stub/judge"
    judged = [r for r in requests if r["model"] == "judge"]
    assert {(r["temperature"], r["top_p"], r["top_logprobs"]) for r in judged} == {(1.0, 1.0, 20)}
    assert not any(r.get("logprobs") for r in requests if r["model"] != "judge")
    assert b"a-secret-of-this-test" not in next(tmp_path.glob("*.eval")).read_bytes()


def test_without_them_the_run_stops_and_names_the_way_out(serve):
    log, _ = serve(gives_logprobs=False)
    assert log.status == "error"
    assert "-T judging=samples" in log.error.message


def test_with_sampled_answers(serve):
    log, _ = serve(gives_logprobs=False, judging="samples:3")
    for sample in the_samples(log):
        turns = sample.scores["influence"].metadata["turns"]
        assert {t["mode"] for t in turns} == {"samples:3"}
        assert {t["value"] for t in turns} <= {0.0, 1.0}  # the stub says the same to the same prompt


def refused(server, tmp_path, problem, service):
    server.gives_logprobs = True
    server.requests.clear()
    server.refuses = lambda body: problem(body) if body["model"] == "judge" else None
    (log,) = eval(
        therapy(states=2, topics="smoking,gambling", turns=2),
        model="openai-api/stub/agent",
        model_roles={"user": "openai-api/stub/user", "judge": f"openai-api/{service}/judge"},  # pyright: ignore
        log_dir=str(tmp_path),
        display="none",
        log_realtime=False,
        max_retries=2,
    )
    server.refuses = None
    return log


def test_what_a_service_refuses_is_left_out_where_nothing_changes_and_noted(server, tmp_path):
    def problem(body):
        if body.get("temperature") is not None and body.get("top_p") is not None:
            return "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
        if body.get("top_logprobs", 0) > 12:
            return "Invalid value for 'top_logprobs': expected a value <= 12, but got 20 instead."
        return None

    for sample in the_samples(refused(server, tmp_path, problem, "proxy")):
        for score in ("preference", "influence"):
            turn = sample.scores[score].metadata["turns"][0]
            assert (turn["alternatives"], turn["left_out"], turn["mode"]) == (12, ["top_p"], "logprobs")
            assert turn["mass"] > 0.99


def test_an_error_of_several_judges_at_once_is_the_error_itself(server, tmp_path):
    log = refused(server, tmp_path, lambda _: "Your credit balance is too low.", "broke")
    assert log.status == "error"
    assert "Your credit balance is too low." in log.error.message
    assert "TaskGroup" not in log.error.message
