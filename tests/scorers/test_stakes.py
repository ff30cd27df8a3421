"""A saved monitor as a scorer: in the run and afterwards, from the generation pass and from one of its own."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from inspect_ai import eval, score  # noqa: A004
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageUser,
    ContentImage,
    get_model,
)
from inspect_ai.solver import Solver, solver

from probes.activations.capture_settings import CaptureSettings
from probes.activations.store import open_dataset
from probes.capture import capture
from probes.monitors.monitor import MismatchError, Monitor, MonitorError
from scenarios.conversations.dialogue import Dialogue, Session
from scenarios.mistakes import UserMistake
from scorers.monitors import serving
from scorers.stakes import reads_along, stakes
from tests.support.monitor_runs import run, scores_metadata, talk
from tests.support.places import ROOT
from tests.support.spoken_models import fitted_monitor, spoken_model
from tests.support.tiny_models import TEMPLATE, tiny_adapter
from tests.support.told import asked, told

TASKS = ROOT / "tasks"
GENERATION, SECOND = "generation", "second pass"
UNSPOKEN = "it is not told in the tokens that were generated"

MONITORS = [
    {"name": "mean"},
    {"name": "max", "tokens": "assistant"},
    {"name": "attention", "point": "normed", "layers": (0, 1)},
    {"name": "last", "tokens": "assistant,last=1", "layers": (3,)},
    {"name": "max_of_rolling_means", "layers": (0,), "tokens": "user,assistant"},
    {"name": "multimax", "layers": (3, 1), "tokens": "from=1"},
]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return spoken_model(tmp_path_factory.mktemp("spoken") / "base")


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory) -> Path:
    return tiny_adapter(base, tmp_path_factory.mktemp("adapter") / "one", seed=1)


@solver
def said(messages: list) -> Solver:
    async def solve(state, generate):
        state.messages = list(messages[int(state.sample_id) - 1])
        return state

    return solve


def live_run(agent, monitors, tmp_path, **arguments):
    """With monitors that read along."""
    along = [reads_along(str(m)) for m in monitors]
    return run(agent, [stakes(str(m)) for m in monitors], tmp_path, setup=along, **arguments)


def scored_afterwards(log, monitors):
    """As in another process, which has nothing of the generations."""
    serving._serving.clear()
    return score(log, [stakes(str(m)) for m in monitors], action="overwrite", display="none")


def results(log, name="stakes"):
    (found,) = [s for s in log.results.scores if s.name == name]
    return found, {key: metric.value for key, metric in found.metrics.items()}


def logits(metadata) -> list[float | None]:
    turns = metadata["turns"]
    return [metadata["logit"], *(t["logit"] for t in turns), *(t["so_far"] for t in turns)]


def assert_agree(one, other) -> None:
    assert [v is None for v in logits(one)] == [v is None for v in logits(other)]
    there = [(a, b) for a, b in zip(logits(one), logits(other), strict=True) if a is not None]
    assert [a for a, _ in there] == pytest.approx([b for _, b in there], abs=1e-4)


@pytest.fixture(scope="module")
def monitors(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("monitors")
    return [fitted_monitor(base, folder / str(i), **kind) for i, kind in enumerate(MONITORS)]


@pytest.fixture(scope="module")
def logs(base, monitors, tmp_path_factory):
    """Several monitors in one run; prompts of different lengths, in two epochs, so in common batches."""
    folder, agent = tmp_path_factory.mktemp("runs"), f"local/{base}"
    live = live_run(agent, monitors, folder, samples=6, epochs=2)
    after = scored_afterwards(live, monitors)
    return live, after


@solver
def comes_back() -> Solver:
    async def solve(state, generate):
        state.store_as(Dialogue).sessions = [Session(number=1), Session(number=2)]
        return await generate(state)

    return solve


def test_sessions_that_the_model_never_read_as_one_text_are_refused(base, monitors, tmp_path):
    log = run(f"local/{base}", None, tmp_path, samples=1, plan=comes_back())
    with pytest.raises(UserMistake, match="several sessions with one person"):
        scored_afterwards(log, monitors[:1])


class TestBothPasses:
    @pytest.mark.parametrize("number", range(len(MONITORS)))
    def test_agree(self, logs, number):
        name = f"stakes{number or ''}"
        live, after = (scores_metadata(log, name) for log in logs)
        assert {m["source"] for m in after} <= {SECOND, None}
        assert sum(m["source"] == GENERATION for m in live) >= 3
        for one, other in zip(live, after, strict=True):
            assert_agree(one, other)
            assert (one["tokens"], one["tokens_scored"]) == (other["tokens"], other["tokens_scored"])

    def test_those_that_need_a_second_pass_say_why_and_are_counted(self, logs):
        for log in logs:
            told = scores_metadata(log)
            _, values = results(log)
            assert values["from_generation"] == sum(m["source"] == GENERATION for m in told)
            assert values["from_second_pass"] == sum(m["source"] == SECOND for m in told)
        assert {m["why"] for m in scores_metadata(logs[0])} == {None, UNSPOKEN}
        assert {m["why"] for m in scores_metadata(logs[1])} == {"nothing was kept of its generation"}

    @pytest.mark.parametrize("number", [1, 2])
    def test_agree_with_what_capture_stores(self, number, logs, monitors, base, tmp_path):
        kind = MONITORS[number]
        settings = CaptureSettings.model_validate(
            {
                "model": str(base),
                "data": logs[0].location,
                "out": tmp_path / "store",
                "layers": list(kind.get("layers", (2,))),
                "point": kind.get("point", "residual"),
                "tokens": kind.get("tokens", "all"),
                "dtype": "float32",
            }
        )
        capture(settings)
        data = open_dataset(tmp_path / "store", settings.dataset_name)
        expected = Monitor.load(monitors[number]).score(data.activations).logits
        by_id = dict(zip(data.ids, expected, strict=True))
        for sample in logs[0].samples:
            metadata = sample.scores[f"stakes{number}"].metadata
            key = next(i for i in by_id if i.endswith(f":{sample.id}:{sample.epoch}"))
            assert metadata["logit"] == pytest.approx(by_id[key], abs=1e-4)

    def test_the_values_are_probabilities_with_intervals_over_initial_states(self, logs):
        found, values = results(logs[0])
        told = scores_metadata(logs[0])
        probabilities = [1 / (1 + np.exp(-m["logit"])) for m in told]
        assert [s.scores["stakes"].value for s in logs[0].samples] == pytest.approx(probabilities)
        assert values["mean"] == pytest.approx(np.mean(probabilities))
        assert values["flagged_low"] <= values["flagged"] <= values["flagged_high"]
        assert values["flagged"] == pytest.approx(np.mean([m["logit"] >= 0 for m in told]))
        assert (found.scored_samples, found.unscored_samples) == (12, 0)

    def test_turns_part_the_tokens_and_the_last_one_so_far_is_the_conversation(self, logs):
        # the mean over all is the mean of the turns' means, weighed by their tokens
        for sample in logs[0].samples:
            if not sample.messages[-1].text.strip():
                continue  # no reply, so its tokens are of no turn
            metadata = sample.scores["stakes"].metadata
            turns = metadata["turns"]
            assert sum(t["tokens"] for t in turns) == metadata["tokens_scored"] == metadata["tokens"]
            weighed = sum(t["logit"] * t["tokens"] for t in turns) / metadata["tokens"]
            assert metadata["logit"] == pytest.approx(weighed, abs=1e-4)
            assert turns[-1]["so_far"] == pytest.approx(1 / (1 + np.exp(-metadata["logit"])))

    def test_what_is_generated_is_the_same_as_without_a_monitor(self, logs, base, tmp_path):
        bare = run(get_model(f"local/{base}", memoize=False), None, tmp_path, samples=6, epochs=2)
        assert [[m.text for m in s.messages] for s in bare.samples] == [
            [m.text for m in s.messages] for s in logs[0].samples
        ]


def test_another_template_ends_replies_in_another_way(tmp_path):
    # this one writes no end of turn after a last reply, and no conversation has one
    model = spoken_model(tmp_path / "m", template=TEMPLATE)
    monitor, agent = fitted_monitor(model, tmp_path / "monitor"), f"local/{model}"
    live = live_run(agent, [monitor], tmp_path, samples=6)
    after = scored_afterwards(live, [monitor])
    assert GENERATION in {m["source"] for m in scores_metadata(live)}
    for one, other in zip(scores_metadata(live), scores_metadata(after), strict=True):
        assert_agree(one, other)


def test_a_last_message_of_the_user_was_never_read_by_the_agent(base, tmp_path):
    agent = f"local/{base}"
    of_all = fitted_monitor(base, tmp_path / "all")
    of_replies = fitted_monitor(base, tmp_path / "replies", tokens="assistant")
    log = live_run(agent, [of_all, of_replies], tmp_path, plan=talk(2, ends_with_user=True))
    assert {m["source"] for m in scores_metadata(log)} == {SECOND}
    assert "its end did not go through the model" in {m["why"] for m in scores_metadata(log)}
    assert GENERATION in {m["source"] for m in scores_metadata(log, "stakes1")}
    for metadata in scores_metadata(log):
        assert metadata["tokens"] > sum(t["tokens"] for t in metadata["turns"])


def test_without_a_set_up_the_monitor_reads_along_from_its_first_score_on(base, tmp_path):
    agent = f"local/{base}"
    log = run(agent, stakes(str(fitted_monitor(base, tmp_path / "m"))), tmp_path, samples=8, max_samples=1)
    sources = [m["source"] for m in scores_metadata(log)]
    assert sources[0] == SECOND
    assert GENERATION in sources[1:]


def test_what_is_forgotten_goes_through_the_model_again(base, tmp_path, monkeypatch):
    monkeypatch.setattr("probes.monitors.tap.KEPT_NUMBERS", 10)
    log = live_run(f"local/{base}", [fitted_monitor(base, tmp_path / "m")], tmp_path)
    assert {m["source"] for m in scores_metadata(log)} == {SECOND}


def test_a_conversation_longer_than_the_monitor_takes_is_cut_and_counted(base, tmp_path):
    monitor, agent = fitted_monitor(base, tmp_path / "m", max_tokens=100), f"local/{base}"
    for metadata in scores_metadata(live_run(agent, [monitor], tmp_path)):
        assert metadata["tokens"] == 100
        assert metadata["tokens_cut"] > 0
        assert metadata["source"] == SECOND
        assert metadata["logit"] is not None


class TestAdapters:
    def test_both_passes_agree_with_an_adapter_and_beside_one(self, base, adapter, tmp_path):
        for number, name in enumerate((f"local/{base}", f"local/{base}:{adapter}")):
            fitted_with = adapter if number else None
            monitor = fitted_monitor(base, tmp_path / str(number), adapter=fitted_with)
            live = live_run(name, [monitor], tmp_path, samples=6)
            after = scored_afterwards(live, [monitor])
            # the reference has a model of its own, loaded from the folder
            own = stakes(str(monitor), any_model=True, adapter=str(adapter) if number else None)
            alone = score(live, own, action="overwrite", display="none")
            assert GENERATION in {m["source"] for m in scores_metadata(live)}
            for one, two, three in zip(
                scores_metadata(live), scores_metadata(after), scores_metadata(alone), strict=True
            ):
                assert_agree(one, two)
                assert_agree(one, three)

    def test_the_base_and_its_adapter_are_two_models(self, base, adapter, tmp_path):
        monitor, name = fitted_monitor(base, tmp_path / "m"), f"local/{base}:{adapter}"
        log = live_run(name, [monitor], tmp_path)
        assert log.status == "error"
        assert f"the agent is {name}" in log.error.message
        assert "adapter None, these have '" in log.error.message
        of_any = fitted_monitor(base, tmp_path / "any", any_adapter=True)
        log = live_run(name, [of_any], tmp_path)
        assert all(m["logit"] is not None for m in scores_metadata(log))


class TestRefusals:
    def test_of_another_models_agent_before_a_word_is_said(self, base, tmp_path):
        other = spoken_model(tmp_path / "other", seed=1)
        monitor = fitted_monitor(base, tmp_path / "m")
        log = live_run(f"local/{other}", [monitor], tmp_path)
        assert log.status == "error"
        assert re.search(r"revision '\w+', these have '\w+'.*any_model=true", log.error.message)
        assert not log.stats.model_usage
        # in a task that knows its model, before the first sample
        task = f"{TASKS}/therapy.py@therapy"
        with pytest.raises(MismatchError, match="revision"):
            eval(
                task,
                model=f"local/{other}",
                model_roles={"user": "miniature/user", "judge": "miniature/judge"},
                task_args={"monitor": str(monitor)},
                log_dir=str(tmp_path),
            )

    def test_of_another_template(self, base, tmp_path):
        monitor = fitted_monitor(base, tmp_path / "m")
        file = tmp_path / "t.jinja"
        file.write_text(TEMPLATE)
        log = run(f"local/{base}", stakes(str(monitor), template=str(file)), tmp_path, samples=1)
        assert re.search(r"template '\w+', these have '\w+'", log.error.message)

    def test_of_a_model_that_is_elsewhere(self, base, tmp_path):
        talker = told("Hi.")
        log = live_run(talker, [fitted_monitor(base, tmp_path / "m")], tmp_path)
        assert "the agent is told/model" in log.error.message
        assert not asked(talker)

    def test_of_what_is_no_monitor(self, base, tmp_path):
        with pytest.raises(ValueError, match="-S monitor=<folder>"):
            stakes()
        with pytest.raises(MonitorError, match="has no monitor.json"):
            stakes(str(tmp_path))
        folder = fitted_monitor(base, tmp_path / "m")
        card = json.loads((folder / "monitor.json").read_text())
        (folder / "monitor.json").write_text(json.dumps(card | {"weights_sha256": "0"}))
        with pytest.raises(MonitorError, match="is damaged"):
            stakes(str(folder))


def test_the_monitors_own_model_may_read_what_another_one_said(base, tmp_path):
    monitor = fitted_monitor(base, tmp_path / "m", tokens="assistant")
    log = run(told("How nice, hello!"), stakes(str(monitor), any_model=True), tmp_path)
    told_ = scores_metadata(log)
    assert {m["source"] for m in told_} == {SECOND}
    # 16 letters and the end of the turn, in each of three replies
    assert [m["tokens_scored"] for m in told_] == [51] * 4
    assert [[t["tokens"] for t in m["turns"]] for m in told_] == [[17, 17, 17]] * 4


def test_conversations_without_a_score_are_counted_and_say_why(tmp_path):
    model = spoken_model(tmp_path / "model", spoilt="Z")
    hello = ChatMessageUser(content="Hello.")
    picture = ContentImage(image="data:image/png;base64,iVBORw0KGgo=")
    talks = [
        [hello, ChatMessageAssistant(content="Fine.", source="generate")],
        [ChatMessageUser(content=" ")],
        [hello],
        [hello, ChatMessageAssistant(content="Zzz.", source="generate")],
        [ChatMessageUser(content=[picture]), ChatMessageAssistant(content="Nice.", source="generate")],
    ]
    monitor = fitted_monitor(model, tmp_path / "m", tokens="assistant", threshold=None)
    log = run(told("Hi."), stakes(str(monitor), any_model=True), tmp_path, samples=5, plan=said(talks))
    found, values = results(log)
    assert (found.scored_samples, found.unscored_samples) == (1, 4)
    assert "flagged" not in values
    scores = [sample.scores["stakes"] for sample in log.samples]
    assert [s.value == s.value for s in scores] == [True, False, False, False, False]
    problems = [s.explanation for s in scores[1:]]
    assert problems[0] == "nothing was said"
    assert problems[1] == "the monitor's rule assistant takes no token of it"
    assert "layer 2 has NaN or infinite activations" in problems[2]
    assert problems[3] == "a message of the user holds image, not only text"
    assert scores[3].metadata["turns_unscored"] == 1


def test_of_a_last_turn_alone_earlier_turns_have_scores_too(base, tmp_path):
    # with last=1 the score is of the last turn, and the score so far of the turn that was the last then
    monitor = fitted_monitor(base, tmp_path / "m", tokens="assistant,last=1")
    log = run(
        told(["Nice.", "Ha, good!", "Oh no."]), stakes(str(monitor), any_model=True), tmp_path, samples=1
    )
    (metadata,) = scores_metadata(log)
    assert [t["tokens"] for t in metadata["turns"]] == [6, 10, 7]
    assert metadata["tokens_scored"] == 7
    for turn in metadata["turns"]:
        assert turn["so_far"] == pytest.approx(turn["probability"])
    assert metadata["logit"] == pytest.approx(metadata["turns"][-1]["logit"])


def test_in_a_task_of_the_suite_with_the_miniature(tmp_path, monkeypatch):
    from miniature.checkpoint import base_checkpoint

    monitor = fitted_monitor(
        base_checkpoint(), tmp_path / "monitor", "max", layers=(1, 2), tokens="assistant"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    for name in ("therapy", "booking"):  # with tools too
        (log,) = eval(
            f"{TASKS}/{name}.py@{name}",
            task_args={"monitor": "monitor", "states": 1, "turns": 2},
            log_dir="logs",
            display="none",
            log_realtime=False,
            limit=6,
        )
        assert log.status == "success", log.error
        serving._serving.clear()  # as in another process
        after = score(log, stakes(str(monitor)), action="append", display="none")
        for one, other in zip(scores_metadata(after), scores_metadata(after, "stakes1"), strict=True):
            assert (one["source"], other["source"]) == (GENERATION, SECOND)
            assert_agree(one, other)
