import math

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

from probes.activations.mapped import SideBySide
from probes.activations.ragged import Ragged
from probes.heads import base
from probes.heads.base import NotFiniteError, score_together
from probes.heads.table import HEADS, PARITY, candidates, make_head
from probes.heads.together import fit_together

TRAINED = [name for name, head in HEADS.items() if head.SEEDED]
POOLED = [name for name in HEADS if name not in TRAINED]
HIDDEN = 8


def conversations(rows=80, kind="diffuse", seed=0, strength=0.6, dtype=torch.float32):
    """Activations of rows of 1 to 12 tokens, and labels that a direction tells.

    `diffuse`: every token of a positive row lies a little along it; `needle`: one token lies far along it.
    """
    rng = np.random.default_rng(seed)
    labels = (np.arange(rows) % 2).astype(float)
    found = []
    for label in labels:
        tokens = rng.normal(size=(rng.integers(1, 13) if kind == "diffuse" else rng.integers(8, 13), HIDDEN))
        if kind == "diffuse":
            tokens[:, 0] += strength * (2 * label - 1)
        elif label:
            tokens[rng.integers(0, len(tokens)), 0] += 6
        # directions of very different size and place, as in a residual stream
        found.append(torch.tensor(tokens * np.geomspace(10, 0.1, HIDDEN) + 5, dtype=dtype))
    return Ragged.from_rows(found), labels


def quick(name, **parameters):
    return make_head(name, **({"steps": 60, "batch_size": 16} if name in TRAINED else {}), **parameters)


def test_there_are_the_ten_heads_of_the_earlier_system_and_more():
    assert len({head.NAME for head in PARITY}) == 10
    assert len(HEADS) >= 16


@pytest.mark.parametrize("name", HEADS)
def test_every_head_learns_what_all_tokens_tell_but_the_last_alone_learns_less(name):
    head = quick(name).fit(*conversations(rows=160))
    x, y = conversations(rows=200, seed=1)
    assert roc_auc_score(y, head.decision_function(x)) > (0.62 if name == "last" else 0.75)


def test_heads_that_look_at_single_tokens_find_one_in_a_conversation_and_means_do_not():
    x, y = conversations(rows=200, kind="needle")
    test, labels = conversations(rows=200, kind="needle", seed=1)
    heads = [
        make_head(n, **({"steps": 150} if n in TRAINED else {}))
        for n in ("max", "multimax", "attention", "last")
    ]
    fit_together(heads, x, y)
    found = {
        h.NAME: roc_auc_score(labels, s) for h, s in zip(heads, score_together(heads, test).T, strict=True)
    }
    assert min(found["max"], found["multimax"], found["attention"]) > 0.95
    assert found["last"] < 0.75


@pytest.mark.parametrize("name", HEADS)
def test_parameters_follow_the_conventions_of_scikit_learn(name):
    head = make_head(name, class_weight="balanced")
    copy = clone(head)
    assert copy is not head
    assert copy.get_params() == head.get_params()
    assert copy.set_params(base_rate=0.2).base_rate == 0.2
    with pytest.raises(NotFittedError):
        head.decision_function(conversations(4)[0])
    with pytest.raises(NotFittedError):
        head.state()


@pytest.mark.parametrize("name", HEADS)
def test_a_row_scores_the_same_whatever_stands_beside_it(name, monkeypatch):
    x, y = conversations(rows=40)
    head = quick(name).fit(x, y)
    scores = head.decision_function(x)
    alone = np.concatenate([head.decision_function(x.take([row])) for row in range(40)])
    backwards = head.decision_function(x.take(range(39, -1, -1)))[::-1]
    monkeypatch.setattr(base, "block_tokens", lambda hidden: 13)
    in_small_blocks = head.decision_function(x)
    for other in (alone, backwards, in_small_blocks):
        assert other == pytest.approx(scores, abs=2e-4)


@pytest.mark.parametrize("name", TRAINED)
def test_how_much_is_in_memory_at_once_does_not_change_training(name, monkeypatch):
    x, y = conversations(rows=40)
    whole = make_head(name, steps=20, batch_size=16).fit(x, y)
    monkeypatch.setattr("probes.heads.trained.block_tokens", lambda hidden: 7)
    pieces = make_head(name, steps=20, batch_size=16).fit(x, y)
    assert pieces.decision_function(x) == pytest.approx(whole.decision_function(x), abs=2e-3)


@pytest.mark.parametrize("name", TRAINED)
def test_the_seed_decides_and_nothing_else(name):
    x, y = conversations(rows=40)
    torch.manual_seed(1)
    one = make_head(name, steps=10, seed=5).fit(x, y)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    two = make_head(name, steps=10, seed=5).fit(x, y)
    other = make_head(name, steps=10, seed=6).fit(x, y)
    assert torch.equal(one.weight_, two.weight_)
    assert not torch.equal(one.weight_, other.weight_)
    assert torch.equal(torch.get_rng_state(), state)


def test_heads_fitted_together_are_those_fitted_alone():
    x, y = conversations(rows=60)
    validation = conversations(rows=40, seed=1)
    together = [quick(name, seed=seed) for name in TRAINED for seed in (0, 1)] + [quick(n) for n in POOLED]
    alone = [clone(head) for head in together]
    fit_together(together, x, y, validation=validation)
    for head in alone:
        head.fit(x, y, validation=validation)
    assert score_together(together, x) == pytest.approx(score_together(alone, x), abs=5e-3)
    assert [getattr(h, "best_step_", 0) for h in together] == [getattr(h, "best_step_", 0) for h in alone]


def test_scores_of_many_heads_at_once_are_those_of_each():
    x, y = conversations(rows=30)
    heads = [quick(name) for name in HEADS] + [make_head("max", steps=5, seed=3)]
    fit_together(heads, x, y)
    one_by_one = np.stack([head.decision_function(x) for head in heads], axis=1)
    assert score_together(heads, x) == pytest.approx(one_by_one, abs=1e-4)


@pytest.mark.parametrize("name", ["mean", "lda", "max", "attention"])
def test_rows_that_are_left_out_change_nothing(name):
    x, y = conversations(rows=60)
    kept = np.arange(60) < 40
    masked = quick(name)
    fit_together([masked], x, y, rows=[kept])
    wrong = np.where(kept, y, 1 - y)
    other = quick(name)
    fit_together([other], x, wrong, rows=[kept])
    assert torch.equal(masked.weight_, other.weight_)


def test_early_stopping_gives_back_the_best_weights():
    x, _ = conversations(rows=60)
    noise = np.random.default_rng(0).integers(0, 2, 60).astype(float)
    validation = conversations(rows=60, seed=1)
    head = make_head("attention", steps=200, batch_size=20, stop_on="loss", patience=50, weight_decay=0.0)
    # labels without a meaning: the longer it is trained, the worse the loss on others
    head.fit(x, noise, validation=validation)
    best = min(head.checks_, key=lambda check: check.loss)
    assert head.best_step_ == best.step < 200
    assert head.checks_[-1].loss > best.loss + 0.01
    z, labels = head.decision_function(validation[0]), validation[1]
    assert np.mean(np.logaddexp(0, np.where(labels > 0, -z, z))) == pytest.approx(best.loss, abs=1e-4)


def test_patience_ends_training():
    x, y = conversations(rows=60, strength=3.0)
    head = make_head("max", steps=5000, batch_size=20, patience=2)
    head.fit(x, y, validation=conversations(rows=60, seed=1))
    steps = [check.step for check in head.checks_]
    assert steps[-1] < 1000
    assert sum(step > head.best_step_ for step in steps) == 2
    # at least an epoch and 25 steps between two looks
    assert np.diff(steps).min() >= 25


def test_the_auroc_that_stops_is_that_of_the_validation_set():
    x, y = conversations(rows=60)
    validation = conversations(rows=50, seed=1)
    head = quick("softmax").fit(x, y, validation=validation)
    best = max(head.checks_, key=lambda check: (check.auroc, -check.loss))
    assert roc_auc_score(validation[1], head.decision_function(validation[0])) == pytest.approx(best.auroc)


def test_a_validation_set_of_one_class_can_stop_on_the_loss_only():
    x, y = conversations(rows=20)
    validation = (x, np.zeros(20))
    with pytest.raises(ValueError, match="stop_on='loss'"):
        make_head("max", steps=5).fit(x, y, validation=validation)
    head = make_head("max", steps=5, stop_on="loss").fit(x, y, validation=validation)
    assert math.isnan(head.checks_[0].auroc)


def test_a_batch_that_is_cut_short_counts_as_one():
    # 17 rows in batches of 16: the last one is a step of its own, not thrown away
    x, y = conversations(rows=17)
    head = make_head("max", steps=2, batch_size=16, learning_rate=0.1)
    first_only = clone(head).set_params(steps=1)
    head.fit(x, y)
    first_only.fit(x, y)
    assert not torch.equal(head.weight_, first_only.weight_)


@pytest.mark.parametrize("name", ["mean", "logistic", "lda", "max", "attention", "per_entry"])
def test_class_weights_move_the_share_that_is_called_positive(name):
    x, y = conversations(rows=120, strength=0.2)
    y[np.flatnonzero(y)[::2]] = 0
    plain, balanced, rare = (
        quick(name, **given).fit(x, y).predict_proba(x)[:, 1].mean()
        for given in ({}, {"class_weight": "balanced"}, {"base_rate": 0.05})
    )
    assert rare < plain < balanced
    assert rare == pytest.approx(0.05, abs=0.05)
    same = quick(name, class_weight={0: 1 / 90, 1: 1 / 30}).fit(x, y).predict_proba(x)[:, 1].mean()
    assert same == pytest.approx(balanced, abs=1e-4)


@pytest.mark.parametrize("name", ["mean", "max", "attention", "sliding_mean"])
def test_soft_labels_are_what_probabilities_go_to(name):
    x, y = conversations(rows=120, strength=2.0)
    head = make_head(name, **({"steps": 300} if name in TRAINED else {}))
    found = head.fit(x, np.where(y > 0, 0.7, 0.2)).predict_proba(x)[:, 1]
    assert found[y > 0].mean() == pytest.approx(0.7, abs=0.1)
    assert found[y == 0].mean() == pytest.approx(0.2, abs=0.1)


@pytest.mark.parametrize("name", ["mean", "max"])
def test_sample_weights_of_zero_leave_rows_out(name):
    x, y = conversations(rows=60)
    y[40:] = 1 - y[40:]
    weighted = quick(name).fit(x, y, sample_weight=(np.arange(60) < 40).astype(float))
    truth = conversations(rows=60)[1]
    assert roc_auc_score(truth, weighted.decision_function(x)) > 0.75


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_stored(dtype):
    x, y = conversations(rows=60, dtype=dtype)
    exact = Ragged.from_rows([x.row(i) for i in range(len(x))])
    head = quick("max").fit(x, y)
    assert head.decision_function(x) == pytest.approx(head.decision_function(exact))


def test_several_layers_side_by_side_are_one_wide_layer():
    x, y = conversations(rows=60)
    generator = torch.Generator().manual_seed(0)
    other = Ragged.from_rows([torch.randn(int(n), HIDDEN, generator=generator) for n in x.lengths])
    head = quick("attention").fit(SideBySide([x, other]), y)
    assert head.weight_.shape == (2 * HIDDEN, 2)
    assert roc_auc_score(y, head.decision_function(SideBySide([x, other]))) > 0.75
    with pytest.raises(ValueError, match="vectors of 16 numbers, these have 8"):
        head.decision_function(x)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_activations_that_are_not_finite_name_their_row(name, value):
    x, y = conversations(rows=30)
    head = quick(name).fit(x, y)
    rows = [x.row(i) for i in range(30)]
    rows[17][-1, 3] = value
    broken = Ragged.from_rows(rows)
    for use in (
        lambda: quick(name).fit(broken, y),
        lambda: head.decision_function(broken),
        lambda: head.token_scores(broken),
    ):
        with pytest.raises(NotFiniteError, match="row 17 ") as raised:
            use()
        assert raised.value.row == 17


@pytest.mark.parametrize("name", ["mean", "lda", "max", "attention"])
@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([1.0] * 20, "20 rows are of one class only"),
        ([0.0] * 19 + [1.5], "row 19 has 1.5"),
        ([0.0, math.nan] * 10, "row 1 has nan"),
        ([0.0, 1.0], "20 rows"),
        ([], "some rows"),
    ],
)
def test_labels_that_cannot_be_used(name, labels, told):
    with pytest.raises(ValueError, match=told):
        quick(name).fit(conversations(rows=20)[0], labels)


@pytest.mark.parametrize(
    ("name", "parameters", "told"),
    [
        ("mean", {"C": 0}, "C must be above 0"),
        ("lda", {"shrinkage": 1.5}, "shrinkage"),
        ("softmax", {"temperature": 0}, "temperature"),
        ("max_of_rolling_means", {"window": 0}, "window"),
        ("ema_max", {"decay": 0}, "decay"),
        ("top_k", {"count": 0}, "count"),
        ("attention", {"heads": 0}, "heads"),
        ("max", {"steps": 0}, "steps"),
        ("max", {"stop_on": "accuracy"}, "stop_on"),
        ("max", {"class_weight": "balanced", "base_rate": 0.1}, "exclude each other"),
        ("max", {"class_weight": "even"}, "class_weight"),
        ("max", {"base_rate": 1.0}, "base_rate"),
    ],
)
def test_parameters_out_of_range(name, parameters, told):
    with pytest.raises(ValueError, match=told):
        make_head(name, **parameters).fit(*conversations(rows=20))


def test_names_that_do_not_exist_are_told_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'attention'"):
        make_head("atention")
    with pytest.raises(ValueError, match="did you mean 'window'"):
        make_head("max_of_rolling_means", windw=3)


@pytest.mark.parametrize("name", HEADS)
def test_everything_that_is_tried_in_cross_validation_is_possible(name):
    assert len(candidates(name)) == math.prod(len(v) for v in HEADS[name].GRID.values())
    for point in candidates(name):
        make_head(name, **point).check_parameters()


def test_what_is_fixed_is_not_tried():
    assert candidates("mean", C=3.0) == [{"C": 3.0}]


@pytest.mark.parametrize("name", HEADS)
def test_state_gives_back_the_same_scores_and_refuses_others(name):
    x, y = conversations(rows=30)
    head = quick(name).fit(x, y)
    again = make_head(name).load_state(head.state())
    assert np.array_equal(again.decision_function(x), head.decision_function(x))
    weight, bias = head.state()["weight"], head.state()["bias"]
    for state in (
        {"weight": weight},
        {"weight": weight.repeat(1, 3), "bias": bias},
        {"weight": weight * math.nan, "bias": bias},
    ):
        with pytest.raises(ValueError, match="weight"):
            make_head(name).load_state(state)


def test_a_conversation_of_one_token_and_directions_that_never_change():
    rows = [torch.tensor([[float(i % 2), 3.0, 0.0]]) for i in range(20)]
    y = [i % 2 for i in range(20)]
    for name in HEADS:
        head = quick(name).fit(Ragged.from_rows(rows), y)
        assert np.isfinite(head.decision_function(Ragged.from_rows(rows))).all()
        assert list(head.predict(Ragged.from_rows(rows))) == y, name


def test_a_row_that_the_estimate_of_means_has_not_seen_is_named_in_training(monkeypatch):
    x, y = conversations(rows=40)
    rows = [x.row(i) for i in range(40)]
    rows[31][0, 0] = math.inf
    monkeypatch.setattr("probes.heads.pooled.SAMPLE_TOKENS", 10)
    threads = torch.get_num_threads()
    for name in ("mean", "max", "attention"):
        with pytest.raises(NotFiniteError, match="row 31 ") as raised:
            quick(name).fit(Ragged.from_rows(rows), y)
        assert not raised.value.of_validation
    with pytest.raises(NotFiniteError, match="row 31 of the validation set") as raised:
        quick("max").fit(x, y, validation=(Ragged.from_rows(rows), y))
    assert raised.value.of_validation
    assert torch.get_num_threads() == threads
