"""One row decided: every combination of who answers."""

import asyncio
import math

import numpy as np
import pytest

from probes.cascades.decision import NO_ANSWER, NO_PROBE, Band, Step, band, decide, decide_in_stages
from probes.cascades.merging import LEAST, MergeRule, likelihood_ratio, mean, replace, weighted_logits
from probes.cascades.saved import CASCADE, CascadeError, read_cascade
from tests.support.cascades import a_cascade


class Judge:
    def __init__(self, answer):
        self.answer, self.calls = answer, 0

    async def __call__(self):
        self.calls += 1
        return self.answer


def decided(probe, judge, where=(0.3, 0.7), merge=replace):
    return asyncio.run(decide(probe, band(*where), judge, merge))


def test_the_judge_is_asked_in_the_band_alone():
    for probe, calls in ((0.29, 0), (0.3, 1), (0.5, 1), (0.7, 1), (0.71, 0)):
        judge = Judge(0.9)
        found = decided(probe, judge)
        assert judge.calls == calls == found.asked
        assert (found.value, found.decided_by) == ((0.9, "judge") if calls else (probe, "probe"))
        assert found.reason is None


def test_a_band_without_width_asks_nowhere_and_the_whole_asks_always():
    assert not Band(0.5, 0.5).asks(0.5)
    assert not Band(0.5, 0.5).asked(np.array([0.5])).any()
    assert Band(0, 1).asks(0)
    assert Band(0, 1).asks(1)


def test_what_is_missing_is_said():
    lost, none = decided(None, judge := Judge(0.8)), decided(math.nan, Judge(None))
    assert (lost.value, lost.probe, lost.decided_by, lost.reason, judge.calls) == (
        0.8,
        None,
        "judge",
        NO_PROBE,
        1,
    )
    assert (none.value, none.decided_by, none.asked) == (None, None, True)
    assert NO_PROBE in none.reason
    assert NO_ANSWER in none.reason
    silent = decided(0.5, Judge(math.nan))
    assert (silent.value, silent.judge, silent.asked, silent.decided_by) == (0.5, None, True, "probe")
    assert silent.reason == NO_ANSWER
    alone = decided(0.5, None)
    assert (alone.value, alone.asked, alone.decided_by) == (
        0.5,
        False,
        "probe",
    )
    assert "no judge" in alone.reason


@pytest.mark.parametrize(
    ("low", "high", "told"), [(0.7, 0.3, "thresholds cross"), (-0.1, 0.3, "0 to 1"), (0, 1.1, "0 to 1")]
)
def test_bands_that_are_none(low, high, told):
    with pytest.raises(ValueError, match=told):
        band(low, high)


def test_a_probability_that_is_none():
    with pytest.raises(ValueError, match=r"judge's probability is 7"):
        decided(0.5, Judge(7.0))
    with pytest.raises(ValueError, match="probe's probability"):
        decided(-1.0, Judge(0.5))


def test_stages_go_on_with_what_came_out():
    second, third = Judge(0.6), Judge(0.1)
    steps = [Step(Band(0.3, 0.7), second, mean), Step(Band(0.5, 0.6), third)]
    values = [one.value for one in asyncio.run(decide_in_stages(0.5, steps))]
    assert values == [pytest.approx(0.55), 0.1]
    assert (second.calls, third.calls) == (1, 1)
    assert len(asyncio.run(decide_in_stages(0.9, steps))) == 1
    assert second.calls == 1
    # 0.3 and 0.6 give 0.45, which is outside the second band
    found = asyncio.run(decide_in_stages(0.3, steps))
    assert [one.value for one in found] == [pytest.approx(0.45), pytest.approx(0.45)]
    assert third.calls == 1


def test_merges_by_hand():
    assert (replace(0.2, 0.9), mean(0.2, 0.9)) == (0.9, pytest.approx(0.55))
    # odds 4 and 1/4 cancel out; with all weight on one its own word comes back
    assert weighted_logits(0.5)(0.8, 0.2) == pytest.approx(0.5)
    assert weighted_logits(1.0)(0.8, 0.2) == pytest.approx(0.8)
    assert weighted_logits(0.25)(0.5, 0.8) == pytest.approx(8**0.5 / (1 + 8**0.5))
    # prior odds 1/9; posterior odds 1/4 and 1 are likelihood ratios 9/4 and 9: together 9/4 * 9 / 9
    assert likelihood_ratio(math.log(9))(0.2, 0.5) == pytest.approx(2.25 / 3.25)
    assert mean(np.array([0.0, 1.0]), np.array([1.0, 1.0])).tolist() == [0.5, 1.0]
    # nobody's word is beyond doubt: certain against certain is a draw
    assert likelihood_ratio(0.0)(0.0, 1.0) == pytest.approx(0.5)
    assert weighted_logits(0.5)(0.0, 0.0) == pytest.approx(LEAST)


def test_a_rule_gives_the_function_that_it_names():
    rules = [
        MergeRule(),
        MergeRule(name="mean"),
        MergeRule(name="weighted-logits", weight=0.25),
        MergeRule(name="likelihood-ratio", offset=0.5, probe_weight=1, judge_weight=2),
    ]
    plain = [replace, mean, weighted_logits(0.25), likelihood_ratio(0.5, 1, 2)]
    for rule, function in zip(rules, plain, strict=True):
        assert MergeRule.model_validate_json(rule.model_dump_json()).merge()(0.3, 0.6) == function(0.3, 0.6)
    for wrong in ({"name": "weighted-logits"}, {"name": "likelihood-ratio", "offset": 0.0}):
        with pytest.raises(ValueError, match="needs"):
            MergeRule.model_validate(wrong)


def test_a_saved_cascade_comes_back(tmp_path):
    cascade = a_cascade()
    assert cascade.save(tmp_path / "new").name == CASCADE
    assert read_cascade(tmp_path / "new") == cascade == read_cascade(tmp_path / "new" / CASCADE)
    logits = np.linspace(-3, 3, 7)
    one_by_one = [cascade.monitor.scale.of(float(x)) for x in logits]
    assert one_by_one == cascade.monitor.scale.of(logits).tolist()


def test_cascades_that_cannot_be_read(tmp_path):
    with pytest.raises(CascadeError, match=r"has no cascade.json"):
        read_cascade(tmp_path)
    path = a_cascade().save(tmp_path)
    text = path.read_text()
    for changed, told in (
        (text.replace('"low": 0.2', '"low": 0.9'), r"stages.0: thresholds cross"),
        (text.replace('"strategy"', '"strategem"'), "strateg"),
        (text[:-9], "cannot be read"),
    ):
        path.write_text(changed)
        with pytest.raises(CascadeError, match=told) as error:
            read_cascade(tmp_path)
        assert "\n" not in str(error.value)
