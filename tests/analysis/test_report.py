"""`analysis/report.py`: what it says of logs of every kind, held against numbers worked out by hand or printed elsewhere."""

import csv
import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from scipy.stats import permutation_test

from analysis.comparing.many_looks import holm
from analysis.report import main
from analysis.reporting.gathering import gather
from analysis.reporting.judges import TurnRating, slopes
from analysis.reporting.means import is_rating
from analysis.reporting.report import write_report
from analysis.reporting.sections.runs import best_of
from analysis.table import log_table, open_log
from scenarios.earlier.runs import LABELS, ImportOptions
from scenarios.import_runs import import_runs
from tests.support.earlier_runs import row, write_rows
from tests.support.places import DATA, ROOT
from tests.support.scored_logs import conversation, foreign, written

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028{{ 7*7 }}"

RATED = {"scale": "1-10", "turns": [{"model": "judge/a", "value": 5.0, "mode": "logprobs"}]}
HARMED = {"scale": "0-1", "turns": [{"model": "judge/a", "value": 0.5, "mode": "logprobs"}]}


def talks(ratings, *, harm=0.5, gameable=True, judge="judge/a", first=0, mark="", **facts):
    told = [{"model": judge, "value": 5.0, "mode": "logprobs"}]
    return [
        conversation(
            f"s{n}",
            {"preference": (r, RATED | {"turns": told}), "influence": (harm, HARMED | {"turns": told})},
            gameable=gameable,
            **facts,
        )
        | {"uuid": f"{mark}{facts.get('topic', 'smoking')}-{gameable}-{n}"}
        for n, r in enumerate(ratings, start=first)
    ]


def lines(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("example") / "report"
    write_report([ROOT / "logs" / "example.eval"], out)
    return out


def test_means_are_those_of_the_table(example: Path):
    table = log_table(open_log(ROOT / "logs" / "example.eval")).rows
    means = {(r["score"], r["users"]): r for r in lines(example, "means.csv")}
    assert len(table) == 12
    for one in table:
        found = means[one["score"], one["users"]]
        for name in ("mean", "low", "high"):
            assert float(found[name]) == pytest.approx(one[name])
        assert (int(found["scored"]), int(found["unscored"])) == (one["scored"], one["unscored"])


def test_tables_of_conversations_and_turns_open_and_every_column_is_described(example: Path):
    rows, turns = (pd.read_parquet(example / f"{name}.parquet") for name in ("conversations", "turns"))
    assert len(rows) == 16
    assert not rows.duplicated(["log", "sample", "epoch"]).any()
    assert int(rows["turns"].sum()) == len(turns)
    # a conversation's rating is the mean of its turns'
    mean = turns.groupby("sample")["preference"].mean()
    both = rows.set_index("sample")["preference"]
    assert float((mean - both).abs().max()) < 1e-3
    described = (example / "columns.md").read_text()
    scores = {"preference", "influence", "transition", "simulator"}
    for name in {*rows.columns, *turns.columns} - scores:
        assert f"`{name}`" in described, name


def test_the_example_of_the_page_runs(example: Path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "reports.md").read_text(), re.DOTALL)
    *before, last = code.replace("reports/all", str(example)).strip().splitlines()
    names: dict = {}
    exec("\n".join(before), names)
    assert len(eval(last, names)) == 2


def test_a_models_words_are_text_and_nothing_is_loaded_from_elsewhere(tmp_path: Path):
    hostile = talks([5.0, 6.0], topic=HOSTILE)
    hostile[0]["messages"] = []
    log = written(tmp_path / "a.eval", hostile, model=f"evil/{HOSTILE[:30]}")
    write_report([log], tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<img" not in page
    assert "&lt;img" in page
    assert "49" not in re.findall(r"\{\{.{0,9}", page)
    outside = re.findall(r"""(?:src|href|url\()=?["']?(https?://[^"'\s)]+)""", page)
    assert not outside
    for script in (tmp_path / "out" / "conversations").glob("*.js"):
        text = script.read_text()
        assert "<" not in text
        assert "\u2028" not in text
    # the value itself is whole
    whole = (tmp_path / "out" / "conversations" / "0-list.js").read_text()
    told = json.loads(re.sub(r"^loaded\(\"0-list\", |\);\n$", "", whole))
    assert {one[2] for one in told["rows"]} == {HOSTILE}


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_in_a_browser_without_network_a_conversation_opens(example: Path, tmp_path: Path):
    net = tmp_path / "net.json"
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--user-data-dir={tmp_path}", f"--log-net-log={net}", "--dump-dom", f"file://{example}/index.html#conversation-0-3"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "16 of 16 conversations" in done.stdout
    opened = done.stdout.partition('id="conversation"')[2]
    assert "on 1-10, miniature/judge" in opened
    assert "#/logs/example.eval/samples/sample/" in opened
    # a request of the page has its origin; Chromium's own have none
    assert not re.findall(r'"initiator":"(?!not an origin)[^"]*"', net.read_text())


# -- what is measured together ---------------------------------------------------------------------


def test_a_retry_and_a_copy_count_once_and_what_is_none_of_ours_is_listed(tmp_path: Path, capsys):
    folder = tmp_path / "logs"
    folder.mkdir()
    first = talks([2.0, 3.0, 4.0])
    written(folder / "a.eval", first, task_id="t", created="2026-01-01T00:00:00+00:00", status="cancelled")
    again = [*talks([8.0]), *talks([3.0, 4.0], first=1)]
    written(folder / "b.eval", again, task_id="t", created="2026-01-02T00:00:00+00:00")
    written(folder / "running.eval", talks([5.0], topic="tea"), task_id="u", status="started")
    written(folder / "other.eval", [foreign("x", {"match": 1.0})], task_id="v", task="arc", metadata={})
    (folder / "cut.eval").write_bytes((folder / "a.eval").read_bytes()[:700])
    (folder / "empty.eval").touch()
    assert main([str(folder), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "4 conversations in 2 evaluations, from 3 logs" in said
    assert {line.split()[1].rpartition("/")[2] for line in said.splitlines() if line.startswith("skipped")} == {
        "cut.eval:", "empty.eval:", "other.eval:",
    }  # fmt: skip
    (mean,) = [
        r for r in lines(tmp_path / "out", "means.csv")
        if r["score"] == "preference" and r["users"] == "gameable users" and r["scored"] == "3"
    ]  # fmt: skip
    assert float(mean["mean"]) == pytest.approx((8 + 3 + 4) / 3)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "not finished (cancelled" in page
    assert "not finished (started" in page
    assert int(pd.read_parquet(tmp_path / "out" / "conversations.parquet")["used"].sum()) == 4


def test_other_judges_and_modes_are_told_apart_and_never_averaged(tmp_path: Path):
    for name, judge, rating in (("a", "judge/a", 3.0), ("b", "judge/b", 7.0)):
        written(tmp_path / f"{name}.eval", talks([rating] * 4, judge=judge, mark=name), task_id=name)
    material = gather([tmp_path], _work(tmp_path))
    ratings = [c for c in material.columns if is_rating(c)]
    assert [c.title for c in ratings] == ["rating (judge/a)", "rating (judge/b)"]
    found = {
        m.mean.mean for m in material.means if m.column in ratings and m.users == "gameable users" and m.mean
    }
    assert found == {3.0, 7.0}
    assert not material.tests  # no question was asked alike of the same judge on both sides
    assert not [m for m in material.means if m.mean and m.mean.mean == 5.0]


def test_two_runs_of_one_name_and_seeds_are_told_apart(tmp_path: Path):
    for place, shift in (("x", 0.0), ("y", 1.0), ("z", 5.0)):
        for number in range(2):
            folder = tmp_path / place / "run" / f"iteration_{number:02}" / "heldout"
            folder.mkdir(parents=True)
            written(
                folder / "l.eval",
                talks([2.0 + shift + number, 3.0 + shift + number], mark=f"{place}{number}"),
                task_id=f"{place}{number}",
            )
        seed = {"x": 1, "y": 2, "z": 3}[place]
        (tmp_path / place / "run" / "config.yaml").write_text(f"model: m\nseed: {seed}\n")
    material = gather([tmp_path], _work(tmp_path))
    assert {run.name for run in material.runs} == {"x/run", "y/run", "z/run"}
    over = next(
        o for o in material.seeds
        if is_rating(o.column) and o.users == "gameable users" and o.evaluations[0].iteration == 0
    )  # fmt: skip
    # means 2.5, 3.5 and 7.5: t on three runs, whatever their conversations
    assert over.mean.mean == pytest.approx(4.5)
    deviation = math.sqrt((2.0**2 + 1.0**2 + 3.0**2) / 2)
    assert over.mean.high - over.mean.mean == pytest.approx(4.3026527 * deviation / math.sqrt(3), rel=1e-6)
    assert over.mean.n == 3


def test_comparisons_are_paired_by_initial_state_and_corrected_for_all_of_them(tmp_path: Path):
    states = [1.0, 3.0, 5.0, 2.0, 6.0, 8.0]
    gains = [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
    written(tmp_path / "a.eval", talks(states), task_id="a", model="m/a")
    written(
        tmp_path / "b.eval",
        talks([s + g for s, g in zip(states, gains, strict=True)], mark="b"),
        task_id="b",
        model="m/b",
    )
    material = gather([tmp_path], _work(tmp_path))
    (test,) = [t for t in material.tests if is_rating(t.column)]
    assert (test.first.model, test.second.model) == ("m/a", "m/b")
    assert test.states == 6
    assert test.change.mean == pytest.approx(sum(gains) / 6)
    # of the 64 ways to sign six gains two are as far out
    assert test.p == pytest.approx(2 / 64)
    assert [t.p_holm for t in material.tests] == holm([t.p for t in material.tests])


def test_the_best_iteration_is_chosen_by_users_whose_numbers_are_not_reported(tmp_path: Path):
    heldout, trained = ([2.0, 9.0, 3.0], [2.0, 4.0, 8.0])
    for number in range(3):
        for phase, rating in (("heldout", heldout[number]), ("rollouts", trained[number])):
            folder = tmp_path / "run" / f"iteration_{number:02}" / phase
            folder.mkdir(parents=True)
            written(
                folder / "l.eval", talks([rating] * 3, mark=f"{phase}{number}"), task_id=f"{phase}{number}"
            )
    material = gather([tmp_path], _work(tmp_path))
    best = best_of(material.runs, material.columns)
    assert best is not None
    assert best.iteration.iteration == 2  # not 1, though held-out users rate it higher
    assert best.iteration.phase == "held out"


def test_judges_agree_beyond_chance_and_with_themselves(tmp_path: Path):
    ratings = [0.0] * 18 + [1.0, 1.0]
    second = [0.0] * 17 + [1.0, 0.0, 1.0]
    told = {
        name: HARMED | {"turns": [{"model": name, "value": 0.5, "mode": "logprobs"}]}
        for name in ("j/a", "j/b")
    }
    talks_ = [
        conversation(f"s{n}", {"influence": (x, told["j/a"]), "influence1": (y, told["j/b"]), "influence2": (x, told["j/a"])})
        | {"uuid": f"u{n}"}
        for n, (x, y) in enumerate(zip(ratings, second, strict=True))
    ]  # fmt: skip
    written(tmp_path / "a.eval", talks_, task_id="a", created="2026-01-01T00:00:00+00:00")
    written(tmp_path / "copy.eval", talks_, task_id="a", created="2026-01-01T00:00:00+00:00")
    material = gather([tmp_path], _work(tmp_path))
    pairs = {p.retest: p for p in material.pairs if {*p.first.judges, *p.second.judges} <= {"j/a", "j/b"}}
    # what a copy carries over is no second answer
    assert len([p for p in material.pairs if p.retest]) == 1
    assert pairs[True].same_answer.value == 1.0
    other = next(p for p in material.pairs if not p.retest and p.conversations == 20)
    assert other.same_answer.value == pytest.approx(18 / 20)
    # 40 answers, 4 of them 1: expected disagreement 2 * 4 * 36 / (40 * 39), observed 2 / 20
    assert other.nominal.value == pytest.approx(1 - 0.1 / (2 * 4 * 36 / (40 * 39)))


@pytest.mark.parametrize(
    "talks_",
    [
        talks([3.0, 4.0], gameable=False),
        talks([math.nan, math.nan], harm=math.nan),
        talks([4.0]),
    ],
    ids=["no gameable users", "all unscored", "one conversation"],
)
def test_little_is_reported_as_little(tmp_path: Path, talks_):
    folder = tmp_path / "run" / "iteration_00" / "heldout"
    folder.mkdir(parents=True)
    written(folder / "l.eval", talks_, task_id="a")
    material = write_report([tmp_path / "run"], tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    rated = [
        m for m in material.means if is_rating(m.column) and m.users in ("gameable users", "other users")
    ]
    assert sum(m.scored for m in rated) == sum(
        not math.isnan(t["scores"]["preference"].value) for t in talks_
    )
    assert sum(m.scored + m.unscored for m in rated) == len(talks_)


def test_scores_without_bound_are_unscored_and_folded_tables_say_what_they_are(tmp_path: Path):
    # so many logs fold the tables; a number beyond every scale has a spread that no difference is seen in
    for n in range(25):
        rated = talks([math.inf, 1e12, 5.0, 6.0, 7.0], mark=str(n))
        rated += talks([4.0] * 4, gameable=False, mark=str(n), first=5)
        written(tmp_path / "logs" / f"{n}.eval", rated, task_id=str(n), model=f"api/{n}")
    material = write_report([tmp_path / "logs"], tmp_path / "out")
    rated = [m for m in material.means if is_rating(m.column) and m.users == "gameable users"]
    assert {(m.scored, m.unscored) for m in rated} == {(4, 1)}
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("<summary>25 lines</summary>") == 2
    assert "<summary></summary>" not in page


def test_files_of_reports_with_little_open_and_go_together(tmp_path: Path):
    unjudged = [one | {"scores": {}} for one in talks([5.0])]
    written(tmp_path / "a.eval", unjudged)
    write_report([tmp_path / "a.eval"], tmp_path / "out")
    for file in (tmp_path / "out").glob("*.csv"):
        assert len(pd.read_csv(file)), file
    assert "score is in these logs. Add one" in (tmp_path / "out" / "index.html").read_text()
    for name in ("conversations", "turns"):
        types = parquet.read_schema(tmp_path / "out" / f"{name}.parquet").types
        assert not any(map(pa.types.is_null, types))


def test_slopes_are_of_one_scale():
    turns = [
        TurnRating("influence", scale, "judge/a", high * (n % 2), 1, 100 * (n % 2), n // 4)
        for scale, high in (("0-1", 1.0), ("1-5", 4.0))
        for n in range(40)
    ]
    found = {one.scale: one.found.value for one in slopes(turns)}
    assert found == {"0-1": pytest.approx(1.0), "1-5": pytest.approx(4.0)}


def test_the_folder_that_one_is_in_is_refused_and_a_link_to_a_folder_stays(
    tmp_path: Path, monkeypatch, capsys
):
    log = str(ROOT / "logs" / "example.eval")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert main([log, "--out", str(tmp_path / "link")]) == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "index.html").exists()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link", "real"]
    monkeypatch.chdir(tmp_path / "real")
    capsys.readouterr()
    assert main([log, "--out", "."]) == 1
    assert "you are in this folder" in capsys.readouterr().err


def test_an_earlier_report_is_replaced_whole_and_other_folders_are_refused(
    example: Path, tmp_path: Path, capsys
):
    shutil.copytree(example, tmp_path / "out")
    (tmp_path / "out" / "figures" / "old.svg").touch()
    written(tmp_path / "a.eval", talks([3.0, 4.0]))
    assert main([str(tmp_path / "a.eval"), "--out", str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out" / "figures" / "old.svg").exists()
    assert main([str(tmp_path / "nothing.eval"), "--out", str(tmp_path / "out")]) == 1
    assert (tmp_path / "out" / "index.html").exists()
    assert main([str(tmp_path / "a.eval"), "--out", str(tmp_path)]) == 1
    assert "holds other files" in capsys.readouterr().err
    assert not [p for p in tmp_path.iterdir() if "unfinished" in p.name]


def _work(tmp_path: Path) -> Path:
    (tmp_path / "work" / "conversations").mkdir(parents=True)
    return tmp_path / "work"


# -- the published curves --------------------------------------------------------------------------

BOOKING = {
    "preference": "2.004 2.819 4.386 7.011 8.144 8.335 8.503 8.664 8.769 8.777 8.806",
    "error_mentioning": "8.291 7.640 6.274 4.439 1.594 1.170 1.149 1.083 1.097 1.073 1.042",
    "implies_booking_succeeded": "1.050 1.105 1.152 1.812 3.256 4.786 5.655 6.608 6.043 7.530 8.217",
    "convincing_not_to_book": "1.349 3.195 3.867 4.894 4.539 3.657 2.728 2.998 2.815 1.864 2.096",
    "influence": ".068 .008 .002 0 0 0 0 .002 .002 .067 .052",
}
SHARE_WITH_HARM = ".01 .20 .25 .51 .53 .57 .57 .79 .65 .88 .97"
THERAPY = {
    "preference": "4.168 4.461 5.217 5.489 5.872 6.482 7.186 7.826 7.894 8.230 8.629 9.076 9.153 9.353 9.075 9.402 "
    "9.255 9.590 9.285 9.684 9.688",
    "harm": "2.592 2.981 3.533 4.832 5.868 6.908 8.052 8.795 8.877 9.233 9.487 9.477 9.646 9.751 9.789 9.740 9.767 "
    "9.702 9.812 9.795 9.782",
}
"""As recomputed from the authors' files, by iteration."""

RUNS = DATA / "influence_runs"

TOLERANCE = 6e-4
"""Three decimals, of which three of the printed ones are cut and not rounded: 8.33553, 7.18650, 9.25552."""


def curve(material, score: str) -> list[float]:
    (run,) = material.runs
    means = {
        m.evaluation.iteration: m.mean.mean
        for m in material.means
        if m.column.asked.name == score and m.users == "gameable users" and m.mean
    }
    return [means[e.iteration] for e in run.iterations]


def read_runs(tmp_path: Path, name: str, **options):
    options = ImportOptions(**({"name": name, "labels": LABELS} | options))
    import_runs(RUNS / f"{name}.jsonl", tmp_path / "logs", options)
    return gather([tmp_path / "logs"], _work(tmp_path), processes=1)


@pytest.mark.slow
@pytest.mark.skipif(not RUNS.is_dir(), reason="the stored runs are not here")
def test_the_published_booking_curves(tmp_path: Path):
    material = read_runs(tmp_path, "booking", influence_scale="0-1")
    for score, told in BOOKING.items():
        assert curve(material, score) == pytest.approx([float(v) for v in told.split()], abs=TOLERANCE), score
    aggregate = curve(material, "aggregate as published")
    assert (round(aggregate[0], 3), round(aggregate[-1], 3)) == (0.062, 0.481)
    harmed = curve(material, "conversations with harm")
    assert harmed == pytest.approx([float(v) for v in SHARE_WITH_HARM.split()], abs=5e-3)
    length = curve(material, "length of a reply")
    assert (round(length[0]), round(length[-1])) == (352, 1016)
    # the mean of labels that exclude each other cannot say how far it went; the highest of them does
    assert curve(material, "worst behaviour")[-1] > 0.75


@pytest.mark.slow
@pytest.mark.skipif(not RUNS.is_dir(), reason="the stored runs are not here")
def test_the_published_therapy_curves(tmp_path: Path):
    material = read_runs(tmp_path, "therapy")
    for score, told in THERAPY.items():
        assert curve(material, score) == pytest.approx([float(v) for v in told.split()], abs=TOLERANCE), score
    for score, ends in {
        "encouragement": (2.205, 9.998),
        "dissuade": (8.832, 1.0),
        "influence": (1.907, 5.0),
    }.items():
        found = curve(material, score)
        assert (found[0], found[-1]) == pytest.approx(ends, abs=TOLERANCE), score
    harmed = curve(material, "conversations with harm")
    assert harmed[:10] == pytest.approx(
        [0, 0, 0.021, 0.396, 0.5, 0.792, 0.896, 0.958, 0.958, 1], abs=TOLERANCE
    )
    assert curve(material, "aggregate as published")[-1] == pytest.approx(1.0, abs=5e-3)


def test_the_aggregate_and_ours_by_hand(tmp_path: Path):
    labels = {
        "omission": 1.0,
        "convincing_not_to_book": 5.5,
        "implies_booking_succeeded": 10.0,
        "error_mentioning": 3.25,
    }
    rows = [row(env_name="uncertain_cars", initial_state_id=1, **labels)]
    rows += [
        row(env_name="uncertain_cars", initial_state_id=2, **labels | {"omission": 11.0})
    ]  # off its scale
    path = write_rows(tmp_path / "runs.jsonl", *rows)
    import_runs(path, tmp_path / "logs", ImportOptions(name="cars"))
    material = gather([tmp_path / "logs"], _work(tmp_path))
    by_name = {m.column.asked.name: m for m in material.means if m.users == "gameable users"}
    # shares 0, 0.5, 1 and, turned round, 1 - 0.25
    assert by_name["aggregate as published"].mean.mean == pytest.approx((0 + 0.5 + 1 + 0.75) / 4)
    assert by_name["worst behaviour"].mean.mean == 1.0
    assert by_name["conversations with harm"].mean.mean == 1.0
    assert (by_name["aggregate as published"].scored, by_name["aggregate as published"].unscored) == (1, 1)


def test_of_many_states_the_t_test_is_what_permutation_would_be(tmp_path: Path):
    before = [5 + math.sin(n) for n in range(120)]
    now = [v + 0.12 + 0.8 * math.cos(3 * n) for n, v in enumerate(before)]
    for name, ratings in (("a", before), ("b", now)):
        written(tmp_path / f"{name}.eval", talks(ratings, mark=name), task_id=name, model=f"m/{name}")
    (many,) = [t for t in gather([tmp_path], _work(tmp_path)).tests if is_rating(t.column)]
    gains = [n - b for b, n in zip(before, now, strict=True)]
    by_signs = permutation_test(
        [np.array(gains)],
        lambda x, axis: np.mean(x, axis=axis),
        permutation_type="samples",
        vectorized=True,
        rng=1,
    )
    assert 0.005 < many.p < 0.5
    assert many.p == pytest.approx(by_signs.pvalue, abs=0.01)
