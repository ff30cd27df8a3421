import math
import re

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from probes.evaluation.evaluation_data import read_set
from tests.support.evaluated_rows import LABELS, LOGITS, evaluated, only, saved, stored

CONTRACT = {
    "monitor", "dataset", "layer", "seed", "n", "auroc", "auroc_low", "auroc_high", "recall_at_1pct_fpr",
}  # fmt: skip


def words(folder):
    """A tokenizer of whole words."""
    vocabulary = {w: i for i, w in enumerate(["[UNK]", "danger", "calm", "house", "tree", "river", "the"])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="[UNK]")
    tokenizer.save_pretrained(folder)
    return tokenizer


def test_rows_are_what_the_contract_says_and_what_one_computes_by_hand(tmp_path):
    data = stored(tmp_path / "store", "mt", LABELS, LOGITS)
    monitor = saved(tmp_path / "monitors" / "mean-layer4", threshold=1.5)
    code, rows, _ = evaluated(tmp_path, "--monitors", monitor, "--data", data)
    assert code == 0
    assert all(set(row) >= CONTRACT for row in rows)
    row = only(rows, monitor="mean-layer4", dataset="mt")
    # of four pairs only 1 against 2 is the wrong way round; the first alone is above both negatives
    assert (row["auroc"], row["recall_at_1pct_fpr"], row["n"]) == (0.75, 0.5, 4)
    assert row["auroc_low"] < 0.75 < row["auroc_high"]
    # flagged from 1.5 on: 3 rightly, 2 wrongly; 1 is missed
    assert (row["accuracy"], row["threshold"], row["layer"], row["seed"]) == (0.5, 1.5, 4, None)
    squares = [(1 / (1 + math.exp(-z)) - y) ** 2 for y, z in zip(LABELS, LOGITS, strict=True)]
    assert row["brier"] == pytest.approx(sum(squares) / 4)


def test_ambiguous_unlabelled_and_trained_rows_are_left_out_and_counted(tmp_path):
    root = tmp_path / "store"
    data = stored(
        root, "mt", [*LABELS, 0.5, math.nan, 1], [*LOGITS, 9.0, 9.0, -9.0], excluded={"nothing was said": 3}
    )
    train = stored(root, "train", [1, 0, 1, 0], [2.0, -1.0, 1.0, -2.0], keys=["mt-6", "a", "b", "c"])
    monitor = saved(tmp_path / "monitors" / "m")
    code, rows, details = evaluated(
        tmp_path, "--monitors", monitor, "--data", data, "--train", train, "--controls", "length"
    )
    assert code == 0
    row = only(rows, monitor="m", dataset="mt")
    assert (row["auroc"], row["n"], row["n_ambiguous"], row["n_excluded"]) == (0.75, 4, 1, 3)
    (told,) = details["datasets"]
    assert told["excluded"] == {"not labelled": 1, "also trained on": 1}
    assert told["not_captured"] == {"nothing was said": 3}
    page = (tmp_path / "results" / "results.html").read_text()
    assert "1 not labelled, 1 also trained on, 1 ambiguous" in page
    assert "3 nothing was said" in page


def test_the_mean_is_over_sets_with_both_classes_and_says_so(tmp_path, capsys):
    root = tmp_path / "store"
    sets = [
        stored(root, "one", LABELS, LOGITS),
        stored(root, "two", LABELS, [3.0, 2.0, 1.0, 0.0]),
        stored(root, "three", [1, 1], [1.0, 2.0]),
    ]
    monitor = saved(tmp_path / "monitors" / "m")
    _, rows, details = evaluated(tmp_path, "--monitors", monitor, "--data", *sets)
    mean = only(rows, monitor="m", dataset="mean")
    assert (mean["auroc"], mean["sets"], mean["sets_left_out"], mean["n"]) == (0.875, 2, 1, 8)
    assert 0.25 <= mean["auroc_low"] <= 0.875 <= mean["auroc_high"] <= 1
    three = only(rows, monitor="m", dataset="three")
    assert three["auroc"] is three["recall_at_1pct_fpr"] is None
    assert three["accuracy"] == 1
    assert details["notes"] == [
        "three has 2 positive and 0 negative rows: nothing can be ranked there, and it is not in any mean."
    ]
    assert "nothing can be ranked there" in capsys.readouterr().out


def test_parts_by_length_and_by_fact(tmp_path):
    facts = [{"language": "Hindi"}, {"language": "Hindi"}, {"language": "Hindi"}, {}, {"language": "German"}]
    data = stored(
        tmp_path / "store", "mt", [*LABELS, 1], [*LOGITS, 5.0], lengths=[2, 3, 3, 9, 2], facts=facts
    )
    monitor = saved(tmp_path / "monitors" / "m")
    _, rows, _ = evaluated(
        tmp_path, "--monitors", monitor, "--data", data, "--by", "language", "--length-edges", "2,8"
    )
    found = {(r["by"], r["value"]): r for r in rows if r["monitor"] == "m" and r["by"]}
    assert {key: row["n"] for key, row in found.items()} == {
        ("length_bin", "1-2"): 2,
        ("length_bin", "3-8"): 2,
        ("length_bin", "9+"): 1,
        ("language", "Hindi"): 3,
        ("language", "German"): 1,
    }
    assert found["length_bin", "3-8"]["auroc"] == 0
    assert found["language", "Hindi"]["auroc"] == 0.5
    assert found["language", "German"]["auroc"] is None
    # only 1 against 2 lie in the same bin
    assert only(rows, monitor="m", dataset="mt")["auroc_within_length"] == 0


def test_length_is_a_control(tmp_path):
    data = stored(tmp_path / "store", "mt", LABELS, LOGITS, lengths=[9, 2, 4, 1])
    monitor = saved(tmp_path / "monitors" / "m")
    _, rows, _ = evaluated(tmp_path, "--monitors", monitor, "--data", data)
    row = only(rows, monitor="length", dataset="mt", control="length")
    assert (row["auroc"], row["layer"], row["brier"], row["log_loss"]) == (0.75, None, None, None)


def test_thresholds_are_tried_on_the_other_sets(tmp_path):
    root = tmp_path / "store"
    one = stored(root, "one", LABELS, LOGITS)
    two = stored(root, "two", [1, 1, 0, 0, 0], [2.5, 0.5, 3.5, 1.0, 0.0])
    monitor = saved(tmp_path / "monitors" / "m", threshold=1.0)
    _, _, details = evaluated(tmp_path, "--monitors", monitor, "--data", one, two)
    found = {
        (t["threshold_from"], t["dataset"]): (t["logit"], t["fpr"], t["recall"])
        for t in details["thresholds"]
        if t["monitor"] == "m"
    }
    third = pytest.approx(1 / 3)
    assert found["saved", "one"] == (1.0, 0.5, 1.0)
    assert found["saved", "two"] == (1.0, pytest.approx(2 / 3), 0.5)
    # the lowest positive above all negatives of one is 3; nothing of two lies above its highest negative
    assert found["one", "one"] == (3.0, 0.0, 0.5)
    assert found["one", "two"] == (3.0, third, 0.0)
    assert found["two", "two"][1:] == (0.0, 0.0)
    assert found["two", "one"][1:] == (0.0, 0.0)
    assert all(t["fpr_low"] <= t["fpr"] <= t["fpr_high"] for t in details["thresholds"])


def test_monitors_are_compared_on_the_same_rows(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    data = stored(
        tmp_path / "store",
        "mt",
        labels.astype(float).tolist(),
        (labels * 2 + rng.normal(size=120)).tolist(),
        other=rng.normal(size=120).tolist(),
        groups=[i // 2 for i in range(120)],
    )
    folders = [
        saved(tmp_path / "monitors" / "good"),
        saved(tmp_path / "monitors" / "same"),
        saved(tmp_path / "monitors" / "blind", weight=(0.0, 1.0)),
    ]
    _, rows, details = evaluated(
        tmp_path, "--monitors", *folders, "--data", data, "--controls", "nothing", "--reference", "good"
    )
    assert not [row for row in rows if row["control"]]
    compared = {one["monitor"]: one for one in details["comparisons"]}
    same, blind = compared["same"], compared["blind"]
    assert (same["auroc_difference"], same["low"], same["high"], same["p"]) == (0, 0, 0, 1)
    area = {name: only(rows, monitor=name)["auroc"] for name in ("good", "blind")}
    assert blind["auroc_difference"] == pytest.approx(area["blind"] - area["good"])
    assert blind["high"] < 0
    assert blind["p"] < 1e-6
    # of two comparisons the smaller p counts twice
    assert blind["q"] == pytest.approx(2 * blind["p"])


def test_other_conversations_of_a_group_that_is_trained_on_are_left_out_and_counted(tmp_path):
    # two epochs of each initial state: one run's logs serve both, and only one epoch is trained on
    root = tmp_path / "store"
    facts = [{"task": "t", "model": "m", "epoch": "1", "family": "therapy"}] * 4
    data = stored(root, "run", LABELS * 2, LOGITS * 2, groups=[0, 1, 2, 3, 4, 5, 6, 7], facts=facts * 2)
    train = stored(root, "first", LABELS, LOGITS, groups=[0, 1, 2, 3], facts=facts)
    for name in ("run", "first"):
        table_file = root / "datasets" / f"{name}.jsonl"
        table_file.write_text(table_file.read_text().replace(f'"group":"{name}-', '"group":"state-'))
    monitor = saved(tmp_path / "monitors" / "m")
    _, rows, details = evaluated(
        tmp_path, "--monitors", monitor, "--data", data, "--train", train, "--controls", "length"
    )
    (told,) = details["datasets"]
    assert told["excluded"] == {"in a group that is also trained on": 4}
    assert only(rows, monitor="m", dataset="run")["n"] == 4
    # another family's state of the same name is another state
    other = stored(
        root, "subtle", LABELS, LOGITS, groups=[0, 1, 2, 3], facts=[{**facts[0], "family": "subtle"}] * 4
    )
    table_file = root / "datasets" / "subtle.jsonl"
    table_file.write_text(table_file.read_text().replace('"group":"subtle-', '"group":"state-'))
    _, rows, details = evaluated(
        tmp_path, "--monitors", monitor, "--data", other, "--train", train, "--controls", "length"
    )
    assert details["datasets"][0]["excluded"] == {}


def test_rows_of_the_same_words_are_one_group(tmp_path):
    keys = [f"words-{i % 2}-{i // 4}" for i in range(16)]
    data = stored(
        tmp_path / "store",
        "mt",
        [float(i % 2) for i in range(16)],
        [float(i % 2) for i in range(16)],
        keys=keys,
    )
    assert len(set(read_set(data).groups)) == 8


def test_benign_data_alone_give_the_false_positive_rate(tmp_path, capsys):
    data = stored(tmp_path / "store", "benign", [0.0] * 10, [float(i) for i in range(10)])
    monitor = saved(tmp_path / "monitors" / "m", threshold=8.0)
    code, rows, details = evaluated(tmp_path, "--monitors", monitor, "--data", data, figures=True)
    assert code == 0
    assert only(rows, monitor="m")["auroc"] is None
    (told,) = [t for t in details["thresholds"] if t["monitor"] == "m"]
    assert (told["fpr"], told["recall"]) == (0.2, None)
    printed = capsys.readouterr().out
    assert "FPR 0.200 [0." in printed
    assert "0 positive and 10 negative rows" in printed
    assert not (tmp_path / "results" / "monitors.png").exists()


def test_a_control_below_chance_is_told(tmp_path, capsys):
    labels = [float(i % 2) for i in range(60)]
    data = stored(tmp_path / "store", "mt", labels, labels, lengths=[9 if y == 0 else 2 for y in labels])
    monitor = saved(tmp_path / "monitors" / "m")
    evaluated(tmp_path, "--monitors", monitor, "--data", data)
    assert (
        "control length ranks below chance on mt, AUROC 0.000: turned round it would have 1.000"
        in capsys.readouterr().out
    )


def test_the_interval_of_a_mean_over_sets_lies_about_it(tmp_path):
    rng = np.random.default_rng(4)
    root, sets = tmp_path / "store", []
    for number in range(3):
        labels = (np.arange(86) % 2).astype(float)
        sets.append(
            stored(root, f"set{number}", labels.tolist(), (1.5 * labels + rng.normal(size=86)).tolist())
        )
    _, rows, _ = evaluated(tmp_path, "--monitors", saved(tmp_path / "monitors" / "m"), "--data", *sets)
    mean = only(rows, monitor="m", dataset="mean")
    parts = [only(rows, monitor="m", dataset=f"set{n}") for n in range(3)]
    below, above = mean["auroc"] - mean["auroc_low"], mean["auroc_high"] - mean["auroc"]
    assert below == pytest.approx(math.hypot(*(p["auroc"] - p["auroc_low"] for p in parts)) / 3)
    assert above == pytest.approx(math.hypot(*(p["auroc_high"] - p["auroc"] for p in parts)) / 3)
    # thresholds are drawn anew for no interval: it reaches about as far down as up
    recall, low, high = mean["recall_at_1pct_fpr"], mean["recall_low"], mean["recall_high"]
    assert recall == pytest.approx(np.mean([p["recall_at_1pct_fpr"] for p in parts]))
    assert 0.6 < (recall - low) / (high - recall) < 1.7
    assert high - low < max(p["recall_high"] - p["recall_low"] for p in parts)


def test_the_rate_that_few_negatives_leave_open_is_told(tmp_path, capsys):
    data = stored(tmp_path / "store", "mt", LABELS * 10, LOGITS * 10)
    evaluated(tmp_path, "--monitors", saved(tmp_path / "monitors" / "m"), "--data", data)
    # none of 20: up to 3.84 / (20 + 3.84)
    assert "at 1 % FPR: mt (20; up to 16.1 %)" in capsys.readouterr().out


def test_few_positives_of_a_mean_are_told(tmp_path, capsys):
    root = tmp_path / "store"
    few = stored(root, "few", [1.0, 1.0, *[0.0] * 8], [9.0, 8.0, *map(float, range(8))])
    many = stored(root, "many", LABELS * 5, LOGITS * 5)
    monitor = saved(tmp_path / "monitors" / "m")
    evaluated(tmp_path, "--monitors", monitor, "--data", few, many)
    assert "Few groups with positives: few (2)." in capsys.readouterr().out
    evaluated(tmp_path, "--monitors", monitor, "--data", few)
    assert "Few groups" not in capsys.readouterr().out


def test_seeds_are_summed_up_without_their_controls(tmp_path):
    root = tmp_path / "store"
    data = stored(root, "mt", LABELS * 4, LOGITS * 4, other=[3.0, 2.0, 1.0, 0.0] * 4)
    train = stored(root, "train", LABELS * 4, LOGITS * 4, other=[0.5, 0.1, 0.2, 0.3] * 4)
    folders = [
        saved(tmp_path / f"max-layer4-seed{seed}", weight=weight, head="max", seed=seed, steps=5)
        for seed, weight in ((0, (1.0, 0.0)), (1, (0.0, 1.0)))
    ]
    _, rows, details = evaluated(
        tmp_path, "--monitors", *folders, "--data", data, "--train", train,
        "--controls", "shuffled_labels", "--permutations", 1,
    )  # fmt: skip
    (told,) = details["over_seeds"]
    assert (told["head"], told["layer"], told["seeds"]) == ("max", 4, [0, 1])
    assert (told["auroc"], told["auroc_lowest"], told["auroc_highest"]) == (0.875, 0.75, 1.0)
    assert (told["auroc_low"], told["auroc_high"]) == (0, 1)  # of two seeds nearly nothing is known
    shuffled = [row for row in rows if row["control"] == "shuffled_labels"]
    assert [(row["monitor"], row["permutations"]) for row in shuffled] == [("max-layer4-seed0", 1)]
    assert shuffled[0]["auroc_low"] is shuffled[0]["auroc_high"] is None


def test_words_and_shuffled_labels_are_fitted_on_the_training_rows(tmp_path):
    root, tokenizer = tmp_path / "store", words(tmp_path / "tokenizer")
    rng = np.random.default_rng(1)

    def captured(name, count):
        labels = [float(i % 2) for i in range(count)]
        texts = [
            " ".join([*rng.choice(["house", "tree", "river", "the"], size=4), "danger" if y else "calm"])
            for y in labels
        ]
        logits = [2 * y - 1 + rng.normal() * 0.3 for y in labels]
        return stored(
            root,
            name,
            labels,
            logits,
            texts=texts,
            tokenizer=tokenizer,
            groups=[i // 2 for i in range(count)],
        )

    test, train = captured("test", 40), captured("train", 60)
    monitor = saved(tmp_path / "monitors" / "m")
    _, rows, details = evaluated(
        tmp_path, "--monitors", monitor, "--data", test, "--train", train, "--tokenizer", tmp_path / "tokenizer",
        "--permutations", 6,
    )  # fmt: skip
    for control in ("bag_of_words", "tfidf"):
        assert only(rows, monitor=control, control=control)["auroc"] == 1
        assert only(rows, monitor=control, control=control)["brier"] < 0.25
    assert only(rows, monitor="length", control="length")["auroc"] == 0.5
    shuffled = only(rows, monitor="m", control="shuffled_labels")
    assert shuffled["auroc_low"] < 0.5 < shuffled["auroc_high"]
    assert only(rows, monitor="m")["auroc"] == 1
    assert details["notes"] == [
        "The cards of m name other training data than `--train`, which the controls are fitted on."
    ]


def test_a_set_that_monitors_may_have_seen_is_doubted(tmp_path):
    data = stored(tmp_path / "store", "mt", LABELS, LOGITS)
    monitor = saved(tmp_path / "monitors" / "m", trained_on=data)
    _, _, details = evaluated(tmp_path, "--monitors", monitor, "--data", data)
    assert details["notes"][0].startswith("mt: 1 of 1 monitors were fitted or validated on rows of this")


def test_a_part_of_a_set_is_chosen_by_facts(tmp_path):
    facts = [{"split": "test" if i < 4 else "train", "tone": "a"} for i in range(8)]
    data = stored(tmp_path / "store", "mt", LABELS * 2, LOGITS + [0.0] * 4, facts=facts)
    monitor = saved(tmp_path / "monitors" / "m")
    _, rows, _ = evaluated(
        tmp_path, "--monitors", monitor, "--data", f"{data}:split=test,tone=a", "--train", f"{data}:split=train",
        "--controls", "length",
    )  # fmt: skip
    assert only(rows, monitor="m")["dataset"] == "mt:split=test,tone=a"
    assert (only(rows, monitor="m")["n"], only(rows, monitor="m")["auroc"]) == (4, 0.75)


def test_folders_of_monitors_and_what_lies_between_them(tmp_path):
    data = stored(tmp_path / "store", "mt", LABELS, LOGITS)
    for name in ("a", "b"):
        saved(tmp_path / "monitors" / name)
    (tmp_path / "monitors" / "fit.json").write_text("{}")
    again = saved(tmp_path / "later" / "a")
    _, rows, _ = evaluated(
        tmp_path, "--monitors", tmp_path / "monitors", tmp_path / "monitors" / "fit.json", again, "--data", data,
        "--controls", "nothing",
    )  # fmt: skip
    assert {row["monitor"] for row in rows} == {str(tmp_path / "monitors" / "a"), "b", str(again)}


def test_the_same_command_gives_the_same_results(tmp_path):
    data = stored(tmp_path / "store", "mt", LABELS * 5, [*LOGITS, 1.5, 0.2, 0.1, 0.4] * 2 + LOGITS)
    monitor = saved(tmp_path / "monitors" / "m")
    found = []
    for name in ("one", "two"):
        evaluated(tmp_path / name, "--monitors", monitor, "--data", data, "--seed", 3)
        found.append((tmp_path / name / "results" / "results.json").read_bytes())
    assert found[0] == found[1]


def test_figures_are_drawn_even_where_nothing_can_be_ranked(tmp_path):
    root = tmp_path / "store"
    sets = [
        stored(root, "one", LABELS * 3, LOGITS * 3, lengths=[2, 70, 2, 70] * 3),
        stored(root, "two", [1.0], [2.0]),
    ]
    folders = [saved(tmp_path / "monitors" / name) for name in "abc"]
    code, _, _ = evaluated(tmp_path, "--monitors", *folders, "--data", *sets, figures=True)
    assert code == 0
    out = tmp_path / "results"
    assert sorted(path.stem for path in out.glob("*.png")) == [
        "lengths", "monitors", "reliability", "roc", "roc_linear",
    ]  # fmt: skip
    for path in out.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 10_000
    assert not list(out.glob(".*unfinished"))
    page = (out / "results.html").read_text()
    assert page.count("<svg ") == 5
    linked = set(re.findall(r'href="([^"#]+)"', page.replace("xlink:href", "")))
    assert linked == {path.name for path in out.iterdir()} - {"results.html"}
