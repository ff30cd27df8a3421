"""Judges whose distribution is known, behind services of all habits: what is read is the truth, or there is a reason."""

import math

import anyio
import pytest
from inspect_ai.model import GenerateConfig, get_model

from benchmarks.scorers.judges import BEHAVIOURS, Shape, asked, grid, read_now, read_tokens, shapes
from scenarios.conversations.dialogue import Judgement
from scenarios.schema import Question
from scorers.judging.calls import THOUGHT_TOKENS, NoLogprobs, RefusedSetting, first_error, together
from scorers.judging.judgement import Judging, judge
from tests.support.judge_services import SERVICES, Service, spelled

LOW = {"1": 0.45, "2": 0.52, "3": 0.03}
FEW: list[Shape] = [s for s in shapes() if s.peak in (0, 1, 6, 9, 10)]


def judged(name, service, *, scale="1-10", samples=0, config=None):
    """The judgement of a service's model, or the error."""
    SERVICES[name] = service
    question = Question(system="Rate it.", ask="Your rating?", scale=scale)

    async def ask() -> Judgement:
        how = Judging(samples)
        return await judge("preference", "rating", question, "Hello.", judging=how, model=f"service/{name}")

    with pytest.MonkeyPatch.context() as patch:
        if config is not None:
            patch.setattr("scorers.judging.judgement.get_model", lambda name: get_model(name, config=config))
        return anyio.run(ask)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_the_mean_is_the_true_one_and_no_rating_is_lost_more_than_others(behaviour):
    cells = anyio.run(grid, behaviour, 1, read_now, FEW)
    assert (cells.far, cells.broken) == (0, 0)
    assert cells.worst <= 0.02
    assert cells.spread == 0
    if behaviour != "chosen token only":
        assert cells.refused == 0
        # a 10 without neighbours stays open after a thought, where there is no second look, and where
        # few answers are looked at
        assert cells.lost <= (4 if "thinks" in behaviour or "one answer" in behaviour else 0)


def test_no_nonsense_with_log_probabilities_becomes_a_number_and_no_answer_is_lost():
    read = anyio.run(read_tokens, 160, 3, read_now)
    assert min(read.answers, read.nonsense) > 60
    assert (read.right, read.invented) == (read.answers, 0)


class TestTheSecondQuestion:
    @pytest.mark.parametrize("on_continue", ["continues", "anew", "refuses"])
    @pytest.mark.parametrize("shows_end", [True, False])
    def test_a_one_is_no_ten_whatever_the_service_does(self, on_continue, shows_end):
        for seed in range(6):
            service = Service(
                spelled(LOW, ["digits"]), on_continue=on_continue, shows_end=shows_end, seed=seed
            )
            found = judged(f"low-{on_continue}-{shows_end}-{seed}", service)
            assert found.value == pytest.approx(1.58, abs=1e-3)
            assert found.mass == pytest.approx(1.0)

    def test_a_sure_one_is_a_one(self):
        for on_continue in ("continues", "anew", "refuses"):
            service = Service(spelled({"1": 0.99, "2": 0.01}, ["digits"]), on_continue=on_continue)
            assert judged(f"sure-{on_continue}", service).value == pytest.approx(1.01, abs=1e-3)

    def test_a_template_that_asks_something_else_the_second_time_is_not_believed(self):
        """The prompt with the "1" in it must be longer by that alone: here its system prompt is gone."""
        service = Service(spelled({"9": 0.6, "10": 0.4}, ["digits"]), loses_prompt=50, seed=3)
        found = judged("loses-prompt", service)
        assert found.value == pytest.approx(9.4, abs=1e-3)

    def test_a_service_is_asked_once_whether_it_continues(self):
        service = Service(spelled({"9": 0.9, "10": 0.1}, ["digits"]), on_continue="anew")
        for _ in range(4):
            judged("asked-once", service)
        assert sum(prompt[-1].role == "assistant" for prompt in service.prompts) == 1

    def test_nobody_is_asked_twice_where_one_answer_shows_all(self):
        for how in ((), ("space",), ("label",)):
            service = Service(spelled({"8": 0.45, "9": 0.35, "10": 0.2}, how), on_continue="anew")
            judged(f"once-{how}", service)
            assert len(service.prompts) == 1

    def test_what_nothing_shows_has_no_value_and_says_so(self):
        texts = spelled({"5": 0.9, "10": 0.1}, ["digits"])
        found = [
            judged(f"open-{seed}", Service(texts, on_continue="anew", several=False, seed=seed))
            for seed in range(12)
        ]
        closed = [f for f in found if f.value is not None]
        assert all(f.value == pytest.approx(5.5, abs=1e-3) for f in closed)
        for judgement in found:
            if judgement.value is None:
                assert judgement.reason == "scoring_failed"
                assert judgement.undecided == pytest.approx(0.1, abs=1e-3)
                assert "may begin a 10" in judgement.problem

    def test_what_the_neighbours_decide_is_counted(self):
        texts = spelled({"8": 0.1, "9": 0.85, "10": 0.05}, ["digits"])
        service = Service(texts, thought=("<think>", "Hm", "</think>", "\n\n"), seed=1)
        found = judged("neighbours", service)
        assert found.value == pytest.approx(8.95, abs=1e-3)
        assert found.undecided == pytest.approx(0.05, abs=1e-3)

    def test_an_answer_with_most_of_the_probability_is_seen_whole(self):
        """The 1 was drawn; the 0 beside it, with 0.7, begins 0.7."""
        texts = {("0", ".", "7"): 0.7, ("1",): 0.3}
        for seed in range(10):
            assert judged(f"decimal-{seed}", Service(texts, seed=seed), scale="0-1").value is None
        texts = {("No", " idea"): 0.7, ("Yes",): 0.3}
        for seed in range(10):
            assert judged(f"idea-{seed}", Service(texts, seed=seed), scale="yes-no").value is None


class TestWhatServicesRefuse:
    def test_fewer_alternatives_are_asked_for_and_noted(self):
        service = Service(spelled({"8": 0.45, "7": 0.48, "6": 0.07}), cap=5)
        for _ in range(2):
            found = judged("cap", service)
            assert (found.value, found.alternatives) == (pytest.approx(7.38, abs=1e-3), 5)
        assert [c.top_logprobs for c in service.configs] == [20, 5, 5]

    def test_one_alternative_of_twenty_is_no_distribution(self):
        with pytest.raises(
            NoLogprobs, match=r"chosen tokens \(0\.\d\d\).*20 alternatives.*-T judging=samples"
        ):
            judged("alone", Service(spelled({"7": 0.6, "2": 0.4}), chosen_only=True))
        assert judged("alone-sure", Service(spelled({"7": 1.0}), chosen_only=True)).value == 7

    def test_answers_that_few_alternatives_leave_out_are_not_lost(self):
        answers = {n: math.exp(-((int(n) - 5) ** 2) / 3) for n in map(str, range(1, 11))}
        total = sum(answers.values())
        truth = sum(int(n) * p / total for n, p in answers.items())
        for seed in range(5):
            service = Service(spelled({n: p / total for n, p in answers.items()}), cap=5, seed=seed)
            assert judged(f"few-{seed}", service).value == pytest.approx(truth, abs=0.02)

    @pytest.mark.parametrize(
        ("refused", "left_out"),
        [
            ("temperature and top_p", ["top_p"]),
            ("temperature", ["temperature"]),
            ("top_p", ["top_p"]),
            ("max_tokens", ["max_tokens"]),
        ],
    )
    def test_settings_that_change_nothing_are_left_out_and_noted(self, refused, left_out):
        for samples in (0, 3):
            service = Service(spelled({"8": 1.0}), refuses=(refused,))
            found = judged(f"{refused}-{samples}", service, samples=samples)
            assert found.value == 8
            wanted = None if samples and refused == "max_tokens" else left_out
            assert found.left_out == wanted

    @pytest.mark.parametrize("refused", ["logprobs", "top_logprobs"])
    def test_log_probabilities_are_not(self, refused):
        with pytest.raises(
            NoLogprobs, match=rf"refuses {refused} \(Unsupported parameter.*-T judging=samples"
        ):
            judged(f"no-{refused}", Service(spelled({"8": 1.0}), refuses=(refused,)))

    def test_nor_is_a_setting_that_the_role_sets_otherwise(self):
        service = Service(spelled({"8": 1.0}), refuses=("temperature",))
        with pytest.raises(RefusedSetting, match=r"refuses temperature.*set to 0\.5.*leave temperature out"):
            judged("own-temperature", service, config=GenerateConfig(temperature=0.5))

    def test_a_certain_answer_of_which_no_token_is_left_is_certain(self):
        service = Service(spelled({"8": 1.0}), drops_certain=True, shows_end=False)
        assert (judged("dropped", service).value, judged("dropped", service).mass) == (8, 1.0)

    def test_a_service_that_never_lists_a_token_is_not_believed_for_ever(self):
        service = Service(spelled({"8": 1.0}), drops_certain=True)
        assert {judged("never", service).value for _ in range(19)} == {8.0}
        with pytest.raises(NoLogprobs, match="no token in 20 answers"):
            judged("never", service)

    def test_other_errors_are_what_they_are(self):
        found = anyio.run(asked, read_now, "unknown", Service({("8",): 1.0}, refuses=("seed",)), "1-10")
        assert isinstance(found, Judgement)
        group = ExceptionGroup("outer", [ExceptionGroup("inner", [ValueError("the real one"), OSError()])])
        assert str(first_error(group)) == "the real one"

    @pytest.mark.parametrize("calls", [1, 2])
    def test_it_is_that_of_a_call_too_that_makes_others(self, calls):
        async def makes_others():
            raise ExceptionGroup("of a call", [ValueError("the real one")])

        with pytest.raises(ValueError, match="the real one"):
            anyio.run(together, [makes_others() for _ in range(calls)])


class TestThoughts:
    def test_a_judge_that_thinks_is_given_room_from_the_second_answer_on(self):
        service = Service(
            spelled({"8": 0.6, "9": 0.4}), thought=("<think>", *["hm"] * 50, "</think>", "\n\n")
        )
        for _ in range(2):
            assert judged("thinks", service).value == pytest.approx(8.4, abs=1e-3)
        assert [c.max_tokens for c in service.configs] == [16, THOUGHT_TOKENS, THOUGHT_TOKENS]

    def test_a_role_may_give_it_more_or_less(self):
        service = Service(spelled({"8": 1.0}), thought=("<think>", *["hm"] * 50, "</think>", "\n\n"))
        found = judged("thinks-less", service, config=GenerateConfig(max_tokens=40))
        assert [c.max_tokens for c in service.configs] == [16, 40]
        assert (found.value, found.reason, found.cut) == (None, "cut", True)
        assert "--model-role 'preference={model: service/thinks-less, max_tokens: " in found.problem

    def test_a_judge_that_explains_first_is_read_at_the_end(self):
        prose = (
            "The",
            " user",
            " is",
            " pleased",
            ",",
            " and",
            " rightly",
            " so",
            ".",
            " They",
            " got",
            " it",
            ".",
        )
        texts = {(*prose, "\n", "\n", "Rating", ":", " ", n): p for n, p in {"8": 0.7, "7": 0.3}.items()}
        found = judged("explains", Service(texts))
        assert found.value == pytest.approx(7.7, abs=1e-3)

    def test_sampled_answers_that_were_cut_are_told(self):
        texts = {("<think>", *["hm"] * 50): 1.0}
        found = judged("cut-samples", Service(texts), samples=3, config=GenerateConfig(max_tokens=10))
        assert (found.value, found.reason, found.cut) == (None, "cut", True)
