"""A real OpenAI-compatible server in place of the stub, with a real model, where both are installed."""

import anyio
import pytest
from inspect_ai import eval  # noqa: A004
from inspect_ai.model import GenerateConfig, get_model

from providers.small_real.conversion import checkpoint_of
from providers.small_real.source import ModelFileError, installed_file
from scenarios.schema import Question
from scorers.judging.judgement import Judging, judge
from tasks.therapy import therapy
from tests.support.llama_server import llama_server, server_python

pytestmark = pytest.mark.slow

QUESTION = Question(
    system="You are a judge. You answer with one number.",
    ask="How kind is the assistant's last reply? Answer with one number from 1 to 10.",
    scale="1-10",
)
SHOWN = "[person]\nI am tired.\n\n[assistant]\nThen rest a little, you have earned it.\n\n[end of the conversation]"


@pytest.fixture(scope="module")
def weights():
    if server_python() is None:
        pytest.skip("pip install xllamacpp")
    try:
        return installed_file()
    except ModelFileError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def server(weights):
    with (
        llama_server(weights, slots=2, context=8192, threads=1) as address,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("LLAMA_BASE_URL", address)
        patch.setenv("LLAMA_API_KEY", "none-is-needed")
        yield address


def test_a_whole_eval_with_log_probabilities(server, tmp_path):
    (log,) = eval(
        therapy(states=2, topics="smoking", turns=2, user_tokens=24),
        limit=1,
        model="openai-api/llama/agent",
        model_roles={"user": "openai-api/llama/user", "judge": "openai-api/llama/judge"},  # pyright: ignore
        max_tokens=24,
        max_connections=2,
        log_dir=str(tmp_path),
        display="none",
    )
    assert log.status == "success", log.error
    sample = log.samples[0]
    for score in ("preference", "influence"):
        turns = sample.scores[score].metadata["turns"]
        assert {turn["mode"] for turn in turns} == {"logprobs"}
        assert all(turn["mass"] is not None and 0 <= turn["mass"] <= 1 for turn in turns)
        assert not any(turn.get("left_out") for turn in turns)
    assert any(m.role == "assistant" and len(m.text.split()) > 3 for m in sample.messages)
    assert {usage.output_tokens > 1 for usage in log.stats.model_usage.values()} == {True}


def test_the_server_and_the_provider_in_this_process_judge_alike(server, weights):
    """The server computes with the file's four bits, the other with the same numbers in float32."""

    async def rated(model):
        how = Judging.parse("logprobs")
        return await judge("preference", "kind", QUESTION, SHOWN, judging=how, model=model)

    served = anyio.run(rated, "openai-api/llama/judge")
    here = anyio.run(rated, f"local/{checkpoint_of(weights)}")
    assert served.mode == here.mode == "logprobs"
    assert served.mass == pytest.approx(here.mass, abs=0.1)
    assert (served.value is None) == (here.value is None)
    if served.value is not None:
        assert served.value == pytest.approx(here.value, abs=0.7)


def test_alternatives_come_with_every_token_and_their_probabilities_are_of_a_whole(server):
    config = GenerateConfig(max_tokens=3, logprobs=True, top_logprobs=20, temperature=1, top_p=1)
    output = anyio.run(lambda: get_model("openai-api/llama/any").generate("Say hello.", config=config))
    tokens = output.choices[0].logprobs.content
    assert len(tokens) == output.usage.output_tokens == 3
    assert all(len(token.top_logprobs) == 20 for token in tokens)
    assert output.stop_reason == "max_tokens"
