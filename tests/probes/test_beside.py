import json
import math

import numpy as np
import pytest
from inspect_ai import eval  # noqa: A004

from analysis.ranking import area, compare
from probes.evaluate import main
from probes.laboratory.rows import StakesRow, write_rows
from tasks.stakes import stakes
from tests.support.evaluated_rows import saved, stored
from tests.support.told import told

N = 16
LABELS = [n % 2 for n in range(N)]
GROUPS = [f"p{n // 2}" for n in range(N)]
STRONG = [2.0 * label - 1 + 0.1 * n for n, label in enumerate(LABELS)]
WEAK = [math.sin(3.0 * n) for n in range(N)]


@pytest.fixture
def place(tmp_path):
    """A store with a data set, a monitor that ranks it without a fault, and ids of the rows."""
    data = stored(tmp_path / "store", "mt", LABELS, STRONG, groups=GROUPS)
    monitor = saved(tmp_path / "monitors" / "probe")
    return data, monitor, [str(n) for n in range(N)]


def evaluated(tmp_path, *options, figures=False):
    out = tmp_path / "results"
    code = main([*map(str, options), "--out", str(out), "--figures", str(figures).lower()])
    if code:
        return code, [], {}, ""
    read = [json.loads((out / name).read_text()) for name in ("results.json", "evaluation.json")]
    return code, *read, (out / "results.html").read_text()


def scores_file(folder, ids, scores, *, name="lora", labels=LABELS, dataset="mt"):
    folder.mkdir(exist_ok=True)
    lines = [
        {
            "dataset": dataset,
            "id": row,
            "label": label,
            "group": group,
            "scores": {name: {"score": score}},
            "cost": {name: {"flops": 1e9, "seconds": 0.5}},
        }
        for row, label, group, score in zip(ids, labels, GROUPS, scores, strict=False)
    ]
    (folder / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def only(rows, **wanted):
    (one,) = [r for r in rows if all(r.get(k) == v for k, v in ({"by": None} | wanted).items())]
    return one


def test_a_fine_tuned_monitor_stands_in_the_table_and_is_compared_on_the_same_rows(tmp_path, place):
    data, monitor, ids = place
    beside = scores_file(tmp_path / "lora", ids, WEAK)
    code, rows, details, page = evaluated(tmp_path, "--monitors", monitor, "--data", data, "--beside", beside)
    assert code == 0
    probe, lora = only(rows, monitor="probe"), only(rows, monitor="lora")
    labels = np.array(LABELS, float)
    expected = area(labels, np.array(WEAK), GROUPS)
    assert lora["auroc"] == expected.value
    assert (lora["flops"], lora["seconds"], lora["n_unscored"]) == (1e9, 0.5, 0)
    assert {name for name in probe if not name.endswith(("_low", "_high"))} <= set(lora)
    (difference,) = [one for one in details["comparisons"] if one["monitor"] == "lora"]
    wanted = compare(expected, area(labels, np.array(STRONG), GROUPS))
    assert difference["auroc_difference"] == pytest.approx(wanted.value)
    assert (difference["low"], difference["high"]) == pytest.approx((wanted.low, wanted.high))
    assert "<td>lora</td>" in page
    assert "Monitors beside</h2>" in page
    assert "1e+09" in page


def test_an_asked_model_is_read_from_its_log_and_what_it_did_not_answer_is_counted(tmp_path, place):
    data, monitor, ids = place
    rows_file = tmp_path / "mt.jsonl"
    write_rows(
        rows_file,
        [
            StakesRow(id=i, pair=g, messages=[{"role": "user", "content": f"({n})"}], label=y)
            for n, (i, g, y) in enumerate(zip(ids, GROUPS, LABELS, strict=True))
        ],
    )

    def script(prompt):
        number = int(prompt[-1].text.split("(")[1].split(")")[0])
        if number in (4, 5):
            return "I'm sorry, but I can't help with that."
        high = 0.9 if number % 2 else 0.1
        return {"high": high, "low": 1 - high}

    task = stakes(str(rows_file), template="single_word", cache=False)
    (log,) = eval(task, model=told(script, "m"), log_dir=str(tmp_path / "logs"), display="none")
    code, rows, details, _ = evaluated(
        tmp_path, "--monitors", monitor, "--data", data, "--beside", log.location, figures=True
    )
    assert code == 0
    asked = only(rows, monitor="likelihood single_word m")
    assert (asked["n"], asked["n_unscored"], asked["auroc"]) == (14, 2, 1.0)
    assert only(rows, monitor="probe")["n"] == N
    assert [one["monitor"] for one in details["comparisons"]].count("likelihood single_word m") == 1
    assert (tmp_path / "results" / "roc.png").stat().st_size > 10_000


def test_scores_of_other_rows_are_refused(tmp_path, place, capsys):
    data, monitor, ids = place
    common = ["--monitors", monitor, "--data", data, "--beside"]
    turned = scores_file(tmp_path / "turned", ids, WEAK, labels=[1 - y for y in LABELS])
    others = scores_file(tmp_path / "others", [f"x{i}" for i in ids], WEAK)
    named = scores_file(tmp_path / "named", ids, WEAK, name="probe")
    empty = tmp_path / "empty"
    empty.mkdir()
    for beside, problem in (
        (turned, "these are not the same rows"),
        (others, "lora has scores of none of mt"),
        (named, "probe is the name of a monitor, too"),
        (empty, "neither a log nor a file of scores"),
    ):
        assert evaluated(tmp_path, *common, beside)[0] == 1
        assert problem in capsys.readouterr().err


def test_the_drop_on_changed_rows_is_paired_by_row(tmp_path):
    root = tmp_path / "store"
    data = stored(root, "mt", LABELS, STRONG, groups=GROUPS)
    changed = stored(root, "masked", LABELS[:12], WEAK[:12], groups=GROUPS[:12])
    monitor = saved(tmp_path / "monitors" / "probe")
    code, _, details, page = evaluated(
        tmp_path, "--monitors", monitor, "--data", data, changed, "--changed", "mt=masked"
    )
    assert code == 0
    one = next(d for d in details["changed"] if d["monitor"] == "probe")
    labels, groups = np.array(LABELS[:12], float), GROUPS[:12]
    wanted = compare(area(labels, np.array(STRONG[:12]), groups), area(labels, np.array(WEAK[:12]), groups))
    assert (one["rows"], one["unmatched"]) == (12, 4)
    assert (one["drop"], one["drop_low"], one["drop_high"]) == pytest.approx(tuple(wanted[:3]))
    assert "AUROC when rows are changed</h2>" in page


def test_changed_sets_that_are_none_are_told(tmp_path, place, capsys):
    data, monitor, _ = place
    assert evaluated(tmp_path, "--monitors", monitor, "--data", data, "--changed", "mt=restyled")[0] == 1
    assert (
        "--changed mt=restyled: <data set>=<the same rows changed>; there are mt" in capsys.readouterr().err
    )
