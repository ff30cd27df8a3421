import json
import random

import huggingface_hub
import pytest

from probes.evaluation_sets import main
from probes.laboratory.rows import StakesRow, read_rows, write_rows
from probes.laboratory.sources.published import FILES, LOCK
from probes.laboratory.variants import variants_of


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    return status, capsys.readouterr()


def row(identity, label, words, *, split="test", facts=None, pair=None):
    said = [{"role": "user", "content": words}]
    return StakesRow(
        id=str(identity),
        pair=str(pair or identity),
        messages=said,
        label=label,
        facts={"split": split} | (facts or {}),
    )


def statements(tmp_path, *words, name="statements.csv"):
    path = tmp_path / name
    path.write_text("statement,status\n" + "".join(f"{w},Normal\n" for w in words))
    return path


def words(rng, n=30):
    return " ".join(f"w{rng.randrange(500)}" for _ in range(n))


# -- build ----------------------------------------------------------------------------------------


def test_a_source_is_built_and_what_is_left_out_is_counted(tmp_path, capsys):
    rng = random.Random(0)
    path = statements(tmp_path, *(words(rng) for _ in range(40)), "", "")
    out = tmp_path / "out.jsonl"
    status, shown = run(capsys, "build", "mental_health", path, "--out", out)
    assert status == 0, shown.err
    rows = read_rows(out)
    assert {r.split for r in rows} == {"dev", "test"}
    assert (len(rows), "left out: 2 no statement" in shown.out) == (40, True)
    run(capsys, "build", "mental_health", path, "--out", out, "--limit", 7)
    assert len(read_rows(out)) == 7
    assert run(capsys, "build", "mental_health", path, "--out", tmp_path / "out.csv")[0] == 2


def test_text_that_is_in_the_training_data_is_refused_or_dropped(tmp_path, capsys):
    rng = random.Random(1)
    texts = [words(rng) for _ in range(20)]
    path = statements(tmp_path, *texts)
    train = tmp_path / "train.jsonl"
    write_rows(
        train,
        [
            row("t", 1, f"{words(rng, 200)} {texts[3]} {words(rng, 200)}", split="train"),
            row("u", 0, texts[5].upper(), split="train"),
        ],
    )
    out = tmp_path / "out.jsonl"
    status, shown = run(capsys, "build", "mental_health", path, "--out", out, "--against", train)
    assert (status, out.exists()) == (1, False)
    assert "rows of " in shown.err
    assert "are in train" in shown.err
    assert "--overlap drop" in shown.err
    status, shown = run(
        capsys, "build", "mental_health", path, "--out", out, "--against", train, "--overlap", "drop"
    )
    assert status == 0
    assert len(read_rows(out)) == 18
    assert "1 contained text in the training data" in shown.out
    assert "1 same text in the training data" in shown.out
    assert (
        run(capsys, "build", "mental_health", path, "--out", out, "--against", train, "--overlap", "allow")[0]
        == 0
    )
    assert len(read_rows(out)) == 20


def test_near_duplicates_between_dev_and_test_are_refused_or_dropped(tmp_path, capsys):
    rng = random.Random(2)
    texts = [words(rng) for _ in range(30)]
    path = statements(tmp_path, *texts, *(f"{text} once more" for text in texts))
    out = tmp_path / "out.jsonl"
    status, shown = run(capsys, "build", "mental_health", path, "--out", out)
    assert status == 1
    assert "rows of test are in dev" in shown.err
    assert run(capsys, "build", "mental_health", path, "--out", out, "--overlap", "drop")[0] == 0
    assert 30 < len(read_rows(out)) < 60


# -- forms ----------------------------------------------------------------------------------------


def test_forms_keep_the_base_rate_balance_the_classes_and_match_lengths():
    rng = random.Random(3)
    rows = [
        row(n, int(n % 5 == 0), words(rng, rng.randrange(40, 80) if n % 5 == 0 else rng.randrange(20, 70)))
        for n in range(600)
    ]
    rows += [row("a", None, "x y z", facts={"class": "ambiguous"}), row("b", None, "x y")]
    forms = {(v.split, v.form): v for v in variants_of(rows)}
    raw, balanced, matched = (forms["test", form] for form in ("raw", "balanced", "length_matched"))
    assert (len(raw.rows), raw.ambiguous, raw.unlabelled) == (602, 1, 1)
    assert raw.base_rate.value == pytest.approx(0.2)
    assert raw.base_rate.low < 0.2 < raw.base_rate.high
    assert balanced.base_rate.value == matched.base_rate.value == 0.5
    assert len(balanced.rows) == 240
    assert balanced.length.value > 0.65
    assert abs(matched.length.value - 0.5) < 0.07
    assert 100 < len(matched.rows) <= 240
    assert variants_of(rows) == variants_of(rows)
    assert [r.id for r in variants_of(rows, seed=1)[1].rows] != [r.id for r in balanced.rows]


def test_forms_are_written_by_split_with_a_card(tmp_path, capsys):
    rng = random.Random(4)
    path, out = tmp_path / "rows.jsonl", tmp_path / "forms"
    write_rows(path, [row(n, n % 2, words(rng), split=("dev", "test")[n % 3 == 0]) for n in range(60)])
    status, _ = run(capsys, "forms", path, "--out", out)
    assert status == 0
    assert {p.name for p in out.iterdir()} == {
        "card.md", *(f"{split}_{form}.jsonl" for split in ("dev", "test") for form in ("raw", "balanced", "length_matched")),
    }  # fmt: skip
    assert "| dev | raw | 40 | 0 | 0 | 0.50 [" in (out / "card.md").read_text()
    one = tmp_path / "one.jsonl"
    write_rows(one, [row(n, 1, words(rng)) for n in range(5)])
    run(capsys, "forms", one, "--out", out)
    assert "| test | balanced | 0 | 0 | 0 | one class | one class |" in (out / "card.md").read_text()
    write_rows(one, [row("a", None, "b")])
    status, shown = run(capsys, "forms", one, "--out", out)
    assert status == 1
    assert "no row has a label" in shown.err


# -- download -------------------------------------------------------------------------------------

COMMIT = "a" * 40


class Hub:
    """All files, and how often each was fetched; one kind of them only while it is not broken."""

    def __init__(self, folder):
        self.folder, self.fetched, self.broken, self.words = folder, [], False, "The dam cracks."
        folder.mkdir()

    def fetch(self, repo_id, filename, repo_type, revision):
        assert (repo_id, repo_type) == ("Arrrlex/models-under-pressure", "dataset")
        self.fetched.append((filename, revision))
        if "mental" in filename and self.broken:
            raise OSError("no route to host")
        path = self.folder / filename.replace("/", "_")
        path.write_text(json.dumps({"inputs": self.words, "ids": filename, "labels": "high-stakes"}) + "\n")
        return str(path)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    class Api:
        def dataset_info(self, repository, revision):
            return type("Info", (), {"sha": COMMIT})

    found = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", found.fetch)
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return found


def test_published_sets_are_of_one_commit_and_fetched_once(tmp_path, capsys, hub):
    out = tmp_path / "published"
    hub.broken = True
    status, shown = run(capsys, "download", "--out", out)
    assert status == 1
    assert "cannot be fetched from the hub (no route to host); what was fetched before is kept" in shown.err
    before = len(hub.fetched)
    hub.broken = False
    status, shown = run(capsys, "download", "--out", out)
    assert status == 0
    assert len(hub.fetched) == len(FILES) + 1  # the one that failed, again
    assert before > 1
    assert {revision for _, revision in hub.fetched} == {COMMIT}
    lock = json.loads((out / LOCK).read_text())
    assert (lock["commit"], len(lock["files"])) == (COMMIT, 22)
    assert read_rows(out / "anthropic_hh_raw" / "test.jsonl")[0].label == 1
    hub.fetched.clear()
    assert "0 files fetched, 22 there already" in run(capsys, "download", "--out", out)[1].out
    assert hub.fetched == []


def test_another_commit_or_a_changed_file_is_refused(tmp_path, capsys, hub):
    out = tmp_path / "published"
    run(capsys, "download", "--out", out, "--files", "mt_raw/test.jsonl")
    status, shown = run(capsys, "download", "--out", out, "--revision", "b" * 40)
    assert status == 1
    assert f"of commit {COMMIT}, not {'b' * 40}" in shown.err
    (out / "mt_raw" / "test.jsonl").write_text("{}")
    status, shown = run(capsys, "download", "--out", out, "--files", "mt_raw/test.jsonl")
    assert status == 1
    assert "this is not the file that was fetched" in shown.err
    (out / "mt_raw" / "test.jsonl").unlink()
    hub.words = "Other words."
    status, shown = run(capsys, "download", "--out", out, "--files", "mt_raw/test.jsonl")
    assert status == 1
    assert "gave another file than before" in shown.err
    (out / LOCK).write_text("{")
    assert run(capsys, "download", "--out", out)[0] == 1


# -- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "problem"),
    [
        (["build", "mental_helth", "x.csv", "--out", "o.jsonl"], 2, "did you mean 'mental_health'"),
        (["build", "mts", "x.csv", "--out", "o.jsonl"], 1, "x.csv: no such file"),
        (["build", "mts", "x.csv", "--out", "o.jsonl", "--test", "2"], 2, "--test 2"),
        (["build", "mts", "x.csv", "--out", "o.jsonl", "--limit", "0"], 2, "--limit 0"),
        (["forms", "x.jsonl", "--out", "o"], 1, "x.jsonl: no such file"),
        (["download", "--out", "o", "--files", "a.jsonl"], 2, "'a.jsonl' is none of"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, status, problem):
    code, shown = run(capsys, *arguments)
    assert (code, shown.err.count("\n")) == (status, 1)
    assert problem in shown.err


def test_all_sources_are_listed(capsys):
    assert run(capsys, "sources")[1].out.count("\n") == 16
