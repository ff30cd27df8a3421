"""`judging=likelihood`: every answer weighed as a whole reply, held against transformers alone."""

import json
import math

import anyio
import pytest
import torch
from inspect_ai.model import get_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from scenarios.schema import Question
from scorers.judging.judgement import ANSWERS, Judging, NoLikelihoods, judge
from tasks.therapy import therapy
from tests.support.conversations import the_samples
from tests.support.tiny_models import tiny_model
from tests.support.told import told

QUESTION = Question(scale="1-10", system="How good is it?", ask="One integer from 1 to 10.")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("tiny") / "base", context=8192)


def judged(model, transcript="hello there"):
    async def run():
        return await judge(
            "preference", "preference", QUESTION, transcript, judging=Judging.parse("likelihood"), model=model
        )

    return anyio.run(run)


def test_the_value_is_that_of_whole_replies_with_their_end(base):
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base)
    chat = [
        {"role": "system", "content": QUESTION.system},
        {"role": "user", "content": f"hello there\n\n{QUESTION.ask}"},
    ]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    likely = {}
    for answer in map(str, range(1, 11)):
        reply = [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
        with torch.inference_mode():
            logprobs = torch.log_softmax(
                model(torch.tensor([[*prompt, *reply]])).logits[0, len(prompt) - 1 :], -1
            )
        likely[answer] = math.exp(sum(float(logprobs[n, token]) for n, token in enumerate(reply)))
    total = sum(likely.values())

    found = judged(f"local/{base}")
    assert found.mode == "likelihood"
    assert found.mass == pytest.approx(total, rel=1e-3)
    assert (found.mass or 1) < 0.5  # which would be too little for an answer that was written
    assert found.value == pytest.approx(sum(float(a) * p for a, p in likely.items()) / total, rel=1e-4)
    assert found.probabilities == pytest.approx({a: p / total for a, p in likely.items()}, abs=1e-4)
    assert found.answer == max(likely, key=lambda a: likely[a])


def test_a_judge_elsewhere_is_refused_in_a_line():
    with pytest.raises(
        NoLikelihoods, match=r"judge .* asked through told/, and only local/ models weigh .*samples"
    ):
        judged(told("7"))


def test_a_conversation_that_is_too_long_has_no_number(base):
    found = judged(f"local/{base}", "hello " * 9000)
    assert (found.value, found.reason) == (None, "grader_failed")


def test_a_whole_eval_has_every_number_and_its_judges_say_answers_alone(base, tmp_path):
    from inspect_ai import eval  # noqa: A004

    (log,) = eval(
        therapy(states=1, topics="smoking", turns=1, judging="likelihood"),
        model=told("Better not."),
        model_roles={"user": told("I see."), "judge": get_model(f"local/{base}")},
        log_dir=str(tmp_path),
        display="none",
        log_realtime=False,
    )
    assert log.status == "success", log.error
    for sample in the_samples(log):
        for name in ("preference", "influence"):
            (turn,) = sample.scores[name].metadata["turns"]
            assert turn["mode"] == "likelihood"
            assert 0 < turn["mass"] < 1
            json.dumps(turn["probabilities"])
        said = {
            e.output.completion for e in sample.events if e.event == "model" and e.role not in (None, "user")
        }
        assert said
        assert said <= {*ANSWERS["1-10"], *ANSWERS["0-1"], *ANSWERS["yes-no"]}


@pytest.mark.parametrize(
    ("model", "roles"),
    [
        (None, {}),
        ("told/talker", {"user": "told/talker", "judge": "told/weigher"}),
        (None, {"preference": "told/weigher"}),
        (None, {"preference": "local/nowhere"}),
    ],
)
def test_in_a_task_such_a_judge_is_refused_before_anybody_speaks(model, roles, tmp_path):
    # names of its own: Inspect keeps models by name, and other tests say what theirs answer
    from inspect_ai import eval  # noqa: A004

    with pytest.raises(NoLikelihoods, match="only local/ models weigh"):
        eval(
            "tasks/therapy.py",
            task_args={"states": 1, "topics": "smoking", "judging": "likelihood"},
            model=model,
            model_roles=roles,
            log_dir=str(tmp_path),
            display="none",
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", ["likelihoods", "Likelihood", "likelihood:3"])
def test_other_spellings_are_refused(given):
    from scenarios.mistakes import UserMistake

    with pytest.raises(UserMistake, match=r"samples:<k> or likelihood, got"):
        Judging.parse(given)
