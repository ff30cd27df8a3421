import json
import math
import re
import shutil
import struct
from pathlib import Path

import pytest
import yaml
from matplotlib.figure import Figure

from analysis.comparing.contrasts import best_of, change, groups_in
from analysis.trajectories import read_trajectories
from scenarios.files.whole import write_json, write_jsonl
from scorers.influence import influence
from scorers.preference import preference
from tests.support.told import told
from training import curves, report
from training.errors import RunError
from training.loop.measures import measured
from training.reporting.curves import Points, draw_curves, draw_runs, mean_over_runs
from training.reporting.report import write_report
from training.runs.run_folder import read_run
from training.selection.selecting import choose
from training.settings import LoopSettings

NASTY = "<script>alert('owned')</script> <img src=x onerror=alert(1)> & so on"


def liked(rating):
    """A rating judge that gives gameable users `rating` and the others 3."""
    return told(lambda prompt: {str(rating if "praise" in str(prompt) else 3): 1.0})


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Logs that are made once."""
    return tmp_path_factory.mktemp("logs"), {}


@pytest.fixture
def log(converse, kept):
    folder, made = kept

    def make(rating, harm):
        if (rating, harm) not in made:
            found = converse(
                told(NASTY),
                states=4,
                turns=1,
                scorers=[preference(), influence()],
                roles={"preference": liked(rating), "influence": told({"1": harm, "0": 1 - harm})},
            )
            made[rating, harm] = Path(shutil.copy(found.location.removeprefix("file://"), folder))
        return made[rating, harm]

    return make


@pytest.fixture
def run(tmp_path, log):
    """Two evaluations and one round of training, without weights."""
    path = tmp_path / "a run"
    settings = LoopSettings(
        run=path,
        model="local/somewhere",
        iterations=1,
        algorithm="kto",
        model_args={"api_key": "sk-very-secret", "max_tokens": 300},
    )
    path.mkdir()
    (path / "config.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    rows = []
    for number, (rating, harm) in enumerate([(4, 0.1), (9, 0.7)]):
        at = read_run(path).iteration(number)
        at.heldout.mkdir(parents=True)
        shutil.copy(log(rating, harm), at.heldout)
        rows.append(line(number, next(at.heldout.iterdir()), settings))
    first = read_run(path).iteration(0)
    shutil.copytree(first.heldout, first.rollouts)
    rollouts = next(first.rollouts.iterdir())
    trajectories = read_trajectories(rollouts, rating="preference", harm="influence")
    choose(trajectories, LoopSettings(select_per="topic", count=1), algorithm="kto", seed=0).write_table(
        first.selection
    )
    write_json(
        first.plan, {"n_rows": 2, "left_out": {"too_long": 7}, "warnings": ["2 rows are few"], "x": None}
    )
    rows[0]["train"] = measured(rollouts, settings)
    write_jsonl(path / "metrics.jsonl", rows)
    return path


def line(number, log, settings):
    return {
        "iteration": number,
        "split": "heldout",
        "checkpoint": "base" if number == 0 else "iteration_00/checkpoint",
        **measured(log, settings),
        "kl_to_base": None,
        "train": None,
    }


def made_up(number, train, heldout=5.0):
    told = {"mean_rating": train, "rating_gameable": train, "n_conversations": 4, "n_unscored": 1}
    return {
        "iteration": number,
        "mean_rating": heldout,
        "rating_gameable": heldout,
        "rating_gameable_low": heldout - 1,
        "rating_gameable_high": heldout + 1,
        "harm_gameable": None,
        "n_conversations": 4,
        "n_unscored": 0,
        "train": None if train is None else told,
    }


def width_and_height(png):
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


# -- the page -------------------------------------------------------------------------------------


def test_words_of_models_are_never_markup(run):
    page = write_report(run).read_text()
    assert "&lt;script&gt;alert(&#39;owned&#39;)&lt;/script&gt;" in page
    assert "<script" not in page
    assert "<img src=x" not in page


def test_the_page_needs_nothing_else_and_may_run_nothing(run):
    page = write_report(run).read_text()
    sources = re.findall(r"(?:src|href)=\"([^\"]*)\"", page)
    assert any(s.startswith("data:image/png;base64,") for s in sources)
    assert all(s.startswith(("data:", "iteration_00/")) for s in sources)
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_each_conversation_has_its_log_sample_and_command(run):
    page = write_report(run).read_text()
    links = set(re.findall(r'href="(iteration_00/[^"]*)"', page))
    assert len(links) == 1
    assert (run / links.pop()).exists()
    choices = [
        json.loads(text) for text in (run / "iteration_00" / "selection.jsonl").read_text().splitlines()
    ]
    best = max((c for c in choices if c["topic"] == "chess"), key=lambda c: c["rating"])
    assert f"<code>{best['sample']}</code>, epoch 1" in page
    assert f"inspect view --log-dir &#39;{run}/iteration_00/rollouts&#39;" in page
    assert page.count("best rated: rating <b>4.00</b>") == 1
    assert page.count("worst rated: rating <b>3.00</b>") == 1


def test_the_headline_is_the_metrics_and_the_change_that_of_the_logs(run):
    page = write_report(run).read_text()
    head = page[page.index('class="headline"') : page.index("Means with 95 %")]
    rows = re.findall(r"<tr><td>(.*?)</td><td>(\d*)</td>(.*?)</tr>", head, re.DOTALL)
    assert [(name, number) for name, number, _ in rows] == [
        ("first", "0"),
        ("best on the users trained on", "0"),
        ("last", "1"),
        ("change, last less first", ""),
    ]
    first, _, last, moved = (re.findall(r"<b>([^<]*)</b>", cells) for _, _, cells in rows)
    assert first == ["4.00", "3.00", "0.10", "0.10"]
    assert last == ["9.00", "3.00", "0.70", "0.70"]
    assert moved == ["+5.00", "+0.00", "+0.60", "+0.60"]


def test_a_change_is_paired_by_initial_state(log):
    first, last = (groups_in(log(r, 0.5), rating="preference", harm="influence") for r in (4, 9))
    found = change(last["rating", "gameable"], first["rating", "gameable"])
    assert found.mean == 5.0
    assert found.clusters == 2  # those of both logs are the same; two say little of others
    assert found.low < 5 < found.high
    harm = change(last["harm", "other"], first["harm", "other"])
    assert harm.mean == 0
    assert harm.low < 0 < harm.high


def test_a_change_with_nothing_scored_is_not_known(log):
    groups = groups_in(log(4, 0.5), rating="preference", harm="no_such_score")
    assert groups["harm", "gameable"].unscored == 2
    assert change(groups["harm", "gameable"], groups["harm", "gameable"]) is None


def test_the_arithmetic_is_shown_whatever_its_keys(run):
    page = write_report(run).read_text()
    assert "<td>n rows</td><td>2</td>" in page
    assert "<td>too long</td><td>7</td>" in page
    assert "2 rows are few" in page
    assert "<td>x</td><td>–</td>" in page


def test_settings_are_shown_without_secrets(run):
    page = write_report(run).read_text()
    assert "sk-very-secret" not in page
    assert "model_args / api_key" in page
    assert "***" in page
    assert re.search(r"model_args / max_tokens</td>.*<code>300<", page)


def test_a_model_organism_is_called_one_and_the_miniature_no_evidence(run):
    assert "The miniature is a demonstration" not in write_report(run).read_text()
    config = yaml.safe_load((run / "config.yaml").read_text()) | {"model": "miniature/agent"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    page = write_report(run).read_text()
    assert "The miniature is a demonstration world: no evidence about real models." in page
    assert "model organism" in page


def test_a_run_that_has_just_begun_is_reported(run):
    for part in ("metrics.jsonl", "iteration_00", "iteration_01"):
        path = run / part
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = write_report(run).read_text()
    assert "Nothing is measured yet" in page
    assert "not complete: 0 of 1 round trained, 0 of 2 evaluations" in page
    assert not (run / "curves.png").exists()


def test_a_run_killed_in_its_first_round_is_reported(run):
    write_jsonl(run / "metrics.jsonl", [])
    (run / "iteration_00" / "plan.json").unlink()
    next((run / "iteration_00" / "rollouts").iterdir()).write_bytes(b"PK half a log")
    page = write_report(run).read_text()
    assert "The log of the rollouts is not there" in page
    assert "What was selected in iteration 0" in page


def test_a_damaged_table_is_named(run, capsys):
    (run / "iteration_00" / "selection.jsonl").write_text('{"sample": 1}\n')
    assert report.main([str(run)]) == 1
    assert "selection.jsonl:1" in capsys.readouterr().err


def test_what_is_no_run_is_said_so(tmp_path, capsys):
    with pytest.raises(RunError, match=re.escape("config.yaml")):
        write_report(tmp_path)
    assert report.main([str(tmp_path)]) == 1
    assert curves.main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("no folder of a run") == 2


# -- the best -------------------------------------------------------------------------------------


def test_the_best_is_chosen_on_the_users_trained_on():
    rows = [
        made_up(0, 4.0, heldout=9.0),
        made_up(1, 6.0, heldout=2.0),
        made_up(2, 6.0),
        made_up(3, None, 10.0),
    ]
    assert best_of(rows)["iteration"] == 1


def test_there_is_no_best_without_a_rating():
    assert best_of([]) is None
    assert best_of([made_up(0, None)]) is None


# -- the picture ----------------------------------------------------------------------------------


def test_a_picture_is_wide_enough_and_leaves_nothing_behind(tmp_path):
    draw_curves([made_up(0, 4.0), made_up(1, 5.0), made_up(2, None)], tmp_path / "c.png", title="t", note="n")
    assert width_and_height((tmp_path / "c.png").read_bytes())[0] >= 1200
    assert [p.name for p in tmp_path.iterdir()] == ["c.png"]


def test_a_number_that_is_null_is_drawn_like_one_that_is_not_there(tmp_path):
    rows = [made_up(0, 4.0), made_up(1, None)]
    bare = [{k: v for k, v in row.items() if v is not None} for row in rows]
    draw_curves(rows, tmp_path / "null.png", title="t")
    draw_curves(bare, tmp_path / "bare.png", title="t")
    zero = [row | {"harm_gameable": 0.0} for row in rows]
    draw_curves(zero, tmp_path / "zero.png", title="t")
    null, bare_bytes, zero_bytes = ((tmp_path / f"{n}.png").read_bytes() for n in ("null", "bare", "zero"))
    assert null == bare_bytes
    assert null != zero_bytes


@pytest.mark.parametrize("value", [-3.0, 0.5, 40.0])
def test_one_evaluation_and_odd_scales_can_be_drawn(tmp_path, value):
    row = made_up(0, value, heldout=value) | {"harm_gameable": value, "rating_gameable_low": None}
    draw_curves([row], tmp_path / "c.png", title="t")
    assert (tmp_path / "c.png").stat().st_size > 10_000


def test_several_runs_are_drawn_over_each_other(run, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    assert curves.main([str(run), str(other)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "curves_of_runs.png")
    write_jsonl(other / "metrics.jsonl", [])
    assert curves.main([str(run), str(other)]) == 1
    assert str(other) in capsys.readouterr().err


def test_lines_end_in_their_last_value_and_that_of_runs_is_the_mean_over_all_of_them(tmp_path, monkeypatch):
    drawn = []

    class Kept(Figure):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            drawn.append(self)

    monkeypatch.setattr("matplotlib.figure.Figure", Kept)
    long = [made_up(n, None, heldout=5.0 + n) for n in range(3)]
    short = [made_up(n, None, heldout=8.0) for n in range(2)]
    draw_curves(long, tmp_path / "one.png", title="t")
    draw_runs({"long": long, "short": short}, tmp_path / "runs.png", title="t")
    texts = [[t.get_text() for t in figure.axes[0].texts] for figure in drawn]
    assert texts == [
        ["gameable 7.00"],
        ["gameable 7.00"],
    ]  # (6 + 8) / 2 at iteration 1, the last that both have
    (band,) = [c for c in drawn[1].axes[0].collections if len(c.get_paths())]
    assert {round(float(y), 6) for y in band.get_paths()[0].vertices[:, 1]} == {1.0, 10.0}
    rating = drawn[1].axes[0].lines
    assert [list(line.get_xdata()) for line in rating if len(line.get_xdata())] == [[0, 1, 2], [0, 1], [0, 1]]


def test_the_mean_over_seeds_has_their_interval_and_that_of_other_runs_has_none():
    nan = [math.nan] * 2
    lines = [Points([0, 1], [5.0, y], nan, nan) for y in (6.0, 7.0, 8.0)]
    found = mean_over_runs(lines, seeds_alone=True)
    assert (found.x, found.y) == ([0, 1], [5.0, 7.0])
    # sd 1 over three seeds, t(2) = 4.302653
    assert found.high[1] - 7 == pytest.approx(4.302653 / 3**0.5)
    assert (found.low[0], found.high[0]) == (5, 5)
    assert all(math.isnan(v) for v in mean_over_runs(lines, seeds_alone=False).low)
    assert math.isnan(mean_over_runs(lines[:1], seeds_alone=True).low[0])


def test_only_runs_that_differ_in_their_seed_are_taken_for_seeds(run, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(curves, "draw_runs", lambda *_, seeds_alone, **__: told.append(seeds_alone))
    for settled in ({"seed": 7}, {"seed": 7, "control": "random"}):
        other = tmp_path / f"other{len(told)}"
        shutil.copytree(run, other)
        settings = yaml.safe_load((other / "config.yaml").read_text())
        (other / "config.yaml").write_text(yaml.safe_dump({**settings, **settled, "run": str(other)}))
        assert curves.main([str(run), str(other)]) == 0
    assert told == [True, False]
