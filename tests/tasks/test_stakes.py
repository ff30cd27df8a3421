import json
import math

import numpy as np
import pytest
from inspect_ai import eval, score  # noqa: A004
from inspect_ai.model import get_model

from analysis.compute import ModelSize, completions_flops, generation_flops
from analysis.ranking import auroc, largest_recall
from probes.laboratory.rows import StakesRow, write_rows
from scenarios.mistakes import UserMistake
from scenarios.stakes.monitor_templates import read_monitor_templates
from scorers.prompted_monitor import prompted_monitor
from tasks.stakes import stakes
from tests.support.tiny_models import TEMPLATE, tiny_model
from tests.support.told import asked, output, told

N = 24


def row(number, label, **more):
    words = "A man cannot breathe." if label else "The lamp is dim."
    messages = [
        {"role": "system", "content": "You help."},
        {"role": "user", "content": f"{words} ({number})"},
    ]
    given = {"label": label, "facts": {"split": "test" if number < N - 4 else "train"}}
    return StakesRow(id=f"r{number}", pair=f"p{number // 2}", messages=messages, **given | more)


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_rows(path, [row(n, n % 2) for n in range(N)])
    return path


@pytest.fixture
def run(tmp_path, data):
    def run(model, **options):
        task = stakes(**{"data": str(data), "cache": False} | options)
        (log,) = eval(task, model=model, log_dir=str(tmp_path / "logs"), display="none")
        assert log.status == "success", log.error
        return log

    return run


def measures(log):
    (one,) = log.results.scores
    return {name: metric.value for name, metric in one.metrics.items()} | {"unscored": one.unscored_samples}


def scores(log):
    return {sample.id: sample.scores["prompted_monitor"] for sample in log.samples}


def by_breath(prompt):
    high = 0.9 if "breathe" in prompt[-1].text else 0.2
    return {"high": high, "low": 0.95 - high, "no": 0.05}


def test_a_service_is_read_at_the_first_token_and_ranks_all_rows(run):
    found = measures(run(told(by_breath), template="single_word", split="test"))
    assert (found["auroc"], found["recall"], found["fpr"]) == (1, 1, 0)
    assert (found["n_positive"], found["n_negative"], found["unscored"]) == (10, 10, 0)
    assert (found["tokens_in"], found["tokens_out"]) == (1, 1)
    assert "flops" not in found  # nobody said how large the model is
    assert "dollars" not in found


def test_metrics_are_those_of_the_ranking_module_by_pair(run):
    order = iter(np.random.default_rng(0).permutation(N).tolist())

    def script(prompt):
        high = 0.05 + 0.85 * next(order) / N
        return {"high": high, "low": 0.95 - high, "no": 0.05}

    log = run(told(script), template="single_word")
    of = scores(log)
    labels = np.array([n % 2 for n in range(N)], dtype=float)
    logits = np.array([of[f"r{n}"].metadata["logit"] for n in range(N)])
    groups = [f"p{n // 2}" for n in range(N)]
    found, area = measures(log), auroc(labels, logits, groups)
    assert [found[k] for k in ("auroc", "auroc_low", "auroc_high")] == pytest.approx(list(area))
    assert found["recall"] == largest_recall(labels, logits, groups, 0.01).recall.value


def test_what_is_no_answer_is_unscored_with_its_reason(run):
    answers = {0: "I'm sorry, but I can't help with that.", 1: "Score: 700", 2: "hm", 3: "Score: 80"}

    def script(prompt):
        number = int(prompt[-1].text.split("(")[1].split(")")[0])
        return answers.get(number, "Score: 90" if number % 2 else "Score: 10")

    log = run(told(script), method="reasoned")
    of = scores(log)
    assert [of[f"r{n}"].metadata["problem"] for n in range(3)] == ["refusal", "off the scale", "unreadable"]
    assert of["r0"].reason == "refusal"
    assert of["r3"].value == pytest.approx(0.8)
    found = measures(log)
    assert (found["unscored"], found["n_positive"], found["n_negative"]) == (3, 11, 10)


def test_sampled_answers_are_a_share_of_those_that_say_something(run):
    answers = iter(["high", "low", "What?", "high"] * N)
    log = run(told(lambda prompt: next(answers)), method="answer", template="single_word", samples=4)
    one = scores(log)["r0"]
    assert one.value == pytest.approx(2 / 3)
    assert one.metadata["invalid_answers"] == 1
    assert one.metadata["cost"]["tokens_in"] == 4


def test_a_local_model_weighs_both_answers_and_says_what_it_cost(run, tmp_path):
    folder = tiny_model(tmp_path / "tiny", context=2048)
    model = get_model(f"local/{folder}")
    log = run(model)
    for one in scores(log).values():
        first, second = one.metadata["logit"], one.value
        assert second == pytest.approx(1 / (1 + math.exp(-first)))
        assert one.metadata["mass"] is None
    event = next(e for e in log.samples[0].events if e.event == "model")
    size = ModelSize(**event.output.metadata["size"])
    own = [c["tokens"] for c in event.output.metadata["completions"]]
    assert scores(log)[log.samples[0].id].metadata["cost"]["flops"] == completions_flops(
        size, event.output.usage.input_tokens, own
    )
    # shorter than a pass for each answer, which both would read the prompt in
    twice = completions_flops(size, event.output.usage.input_tokens, own, prompt_passes=2)
    assert measures(log)["flops"] < 0.6 * twice


@pytest.mark.parametrize("template", read_monitor_templates().likelihood)
def test_every_template_asks_about_the_conversation_and_names_both_answers(run, template):
    answers = read_monitor_templates().likelihood[template].answers
    model = told({answers.high.split()[0]: 0.7, answers.low.split()[0]: 0.3})
    run(model, template=template, method="answer")
    prompt = asked(model)[0]
    whole = "\n".join(message.text for message in prompt)
    assert "The lamp is dim. (0)" in whole
    assert answers.high.casefold() in whole.casefold()
    assert answers.low.casefold() in whole.casefold()
    assert whole.index("The lamp") < whole.index(prompt[-1].text[-20:])


def test_turns_that_the_chat_template_does_not_take_are_counted(run, tmp_path):
    alternating = (
        "{%- for m in messages -%}{%- if m['role'] == 'user' and not loop.first "
        "and messages[loop.index0 - 1]['role'] == 'user' -%}"
        "{{- raise_exception('roles must alternate') -}}{%- endif -%}{%- endfor -%}" + TEMPLATE
    )
    folder = tiny_model(tmp_path / "tiny", context=2048, template=alternating)
    log = run(get_model(f"local/{folder}"), template="in_turns")
    assert measures(log)["unscored"] == N
    assert {one.metadata["problem"] for one in scores(log).values()} == {"chat template"}
    assert "roles must alternate" in scores(log)["r0"].explanation


def test_a_set_of_one_class_is_refused_before_anybody_is_asked(data):
    write_rows(data, [row(n, 1) for n in range(4)])
    with pytest.raises(UserMistake, match="4 rows of high stakes, 0 of low stakes"):
        stakes(str(data))
    assert stakes(str(data), one_class=True).dataset


def test_options_that_name_nothing_are_told(data, tmp_path):
    with pytest.raises(UserMistake, match="template=letter: there is none; there are default, single_word"):
        stakes(str(data), template="letter")
    with pytest.raises(UserMistake, match="method=cot: one of likelihood, answer, reasoned"):
        stakes(str(data), method="cot")
    with pytest.raises(UserMistake, match="split=dev: no row"):
        stakes(str(data), split="dev")
    own = tmp_path / "own.yaml"
    own.write_text("likelihood:\n  mine:\n    after: High?\n    answers: {high: very, low: very little}\n")
    with pytest.raises(UserMistake, match=r"own\.yaml:\d+.*begins with the whole"):
        stakes(str(data), templates=str(own))
    with pytest.raises(UserMistake, match="size: no bodies"):
        stakes(str(data), size={"bodies": 1})


def test_a_log_of_any_conversations_can_be_scored_later(run, tmp_path):
    log = run(told(by_breath), template="single_word")
    again = score(
        log,
        prompted_monitor("answer", "single_letter", cache=False),
        model_roles={"monitor": told(lambda prompt: "A" if "breathe" in prompt[-1].text else "B", "other")},
        action="overwrite",
        display="none",
    )
    assert measures(again)["auroc"] == 1
    assert scores(again)["r1"].metadata["model"] == "told/other"


def test_flops_follow_the_size_that_is_given(run):
    size = {"body": 1_000_000, "layers": 4, "width": 64}
    found = measures(run(told(by_breath), template="single_word", size=size))
    assert found["flops"] == generation_flops(ModelSize(**size), 1, 1) == 2e6 + 2 * 4 * 64


def test_attention_of_the_largest_model_of_the_tables():
    # 80 layers of width 8192: 1,310,720 * tokens^2
    size = ModelSize(body=70_000_000_000, layers=80, width=8192)
    assert generation_flops(size, 100, 1) == 1.4e11 * 100 + 1_310_720 * 100**2


def test_the_task_file_runs_by_name(data, tmp_path):
    (log,) = eval(
        "tasks/stakes.py",
        model=told(lambda prompt: output(json.dumps({"score": 50}))),
        task_args={"data": str(data), "method": "reasoned", "cache": False},
        log_dir=str(tmp_path),
        display="none",
    )
    assert measures(log)["auroc"] == 0.5
