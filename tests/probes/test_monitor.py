import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from probes.activations.ragged import Ragged
from probes.activations.store import Store
from probes.heads.base import NotFiniteError
from probes.heads.table import HEADS, make_head
from probes.monitors import hub as monitor_hub
from probes.monitors.hub import push_to_hub, stage
from probes.monitors.monitor import (
    MismatchError,
    Monitor,
    MonitorCard,
    MonitorError,
    Sources,
    Threshold,
    parameters_of,
)
from tests.support.stored_rows import row, spec

TRAINING = Sources(names=["store/stakes"], digest="0123456789abcdef", rows=100, positive=40, groups=50)
THRESHOLD = Threshold(logit=0.5, asked_fpr=0.01, fpr=0.005, recall=0.8, n_negative=200, n_positive=100)


def a_monitor(
    name="max", *, hidden=8, layers=(4,), threshold=THRESHOLD, any_adapter=False, of=None, **parameters
):
    head = make_head(name, **parameters)
    generator = torch.Generator().manual_seed(1)
    head.set_weights(
        torch.randn(hidden, head.channels, generator=generator),
        torch.randn(head.channels, generator=generator),
    )
    card = MonitorCard(
        detects="high stakes",
        head=name,
        parameters=parameters_of(head),
        layers=list(layers),
        hidden=hidden,
        spec=of or spec(),
        any_adapter=any_adapter,
        training=TRAINING,
        validation=TRAINING.model_copy(update={"excluded": {"not labelled": 3}}),
        threshold=threshold,
        metrics={"auroc": 0.9, "auroc_low": 0.85, "auroc_high": 0.94},
    )
    return Monitor(head, card)


def rows(count=5, hidden=8):
    generator = torch.Generator().manual_seed(2)
    return Ragged.from_rows([torch.randn(3 + i, hidden, generator=generator) for i in range(count)])


@pytest.mark.parametrize("name", HEADS)
def test_a_monitor_that_was_saved_says_the_same(name, tmp_path):
    monitor = a_monitor(name, class_weight={0: 1.0, 1: 3.0})
    again = Monitor.load(monitor.save(tmp_path / "m"), expect=spec(), layers=[4])
    one, two = (m.score(rows(), tokens=True) for m in (monitor, again))
    assert np.array_equal(one.logits, two.logits)
    assert all(np.array_equal(a, b) for a, b in zip(one.token_logits, two.token_logits, strict=True))
    assert again.head.get_params() == monitor.head.get_params()
    assert again.card == monitor.card
    assert again.card.versions["torch"] == torch.__version__


def test_what_is_on_disk_is_weights_and_text(tmp_path):
    a_monitor().save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["monitor.json", "weights.safetensors"]
    told = json.loads((tmp_path / "monitor.json").read_text())
    assert told["threshold"]["n_negative"] == 200
    assert told["spec"]["point"] == "residual"


def test_scores_are_logits_probabilities_and_flags():
    monitor = a_monitor("mean")
    table = monitor.score(rows())
    assert table.token_logits is None
    assert table.logits == pytest.approx(monitor.head.decision_function(rows()))
    assert table.probabilities == pytest.approx(1 / (1 + np.exp(-table.logits)))
    assert list(table.flagged) == [logit >= 0.5 for logit in table.logits]
    assert a_monitor(threshold=None).score(rows()).flagged is None


def test_a_logit_at_the_threshold_is_flagged():
    logit = float(a_monitor("mean").score(rows(1)).logits[0])
    at = a_monitor("mean", threshold=THRESHOLD.model_copy(update={"logit": logit}))
    above = a_monitor(
        "mean", threshold=THRESHOLD.model_copy(update={"logit": float(np.nextafter(logit, np.inf))})
    )
    assert (at.score(rows(1)).flagged[0], above.score(rows(1)).flagged[0]) == (True, False)


def test_tokens_have_scores_in_their_own_rows():
    table = a_monitor("mean").score(rows(), tokens=True)
    assert [len(scores) for scores in table.token_logits] == [3, 4, 5, 6, 7]
    assert [s.mean() for s in table.token_logits] == pytest.approx(table.logits.tolist(), abs=1e-5)


def test_stored_activations_are_scored_on_the_monitors_layers(tmp_path):
    entry = Store(tmp_path).entry(spec())
    entry.write([row("a", 3, layers=(4, 6, 8), seed=1), row("b", 5, layers=(4, 6, 8), seed=2)])
    stored = entry.open(["b", "a"], [4, 6, 8])
    monitor = a_monitor("attention", hidden=16, layers=(8, 4))
    expected = monitor.head.decision_function(stored.layers([8, 4]))
    assert monitor.score(stored).logits == pytest.approx(expected)
    with pytest.raises(ValueError, match="layer 5"):
        a_monitor(layers=(5,)).score(stored)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other/model", "revision": "beef"},
        {"revision": None},
        {"adapter": "a1"},
        {"template": "plain:2"},
        {"point": "normed"},
        {"tokens": "assistant"},
    ],
)
def test_activations_of_something_else_are_refused_and_the_difference_named(change, tmp_path):
    folder = a_monitor().save(tmp_path)
    with pytest.raises(MismatchError) as raised:
        Monitor.load(folder, expect=spec(**change))
    for name, value in change.items():
        assert f"{name} {spec().model_dump()[name]!r}, these have {value!r}" in str(raised.value)
    assert str(tmp_path) in str(raised.value)
    with pytest.raises(MismatchError):
        a_monitor().check(spec(**change))


def test_another_layer_is_refused(tmp_path):
    folder = a_monitor(layers=(4, 8), hidden=16).save(tmp_path)
    Monitor.load(folder, expect=spec(), layers=[4, 8])
    for layers in ([8, 4], [4], [5]):
        with pytest.raises(MismatchError, match=r"layers \[4, 8\]"):
            Monitor.load(folder, expect=spec(), layers=layers)


@pytest.mark.parametrize(
    "change", [{"dtype": "float32"}, {"max_tokens": 100}, {"truncation": "right"}, {"model": "elsewhere"}]
)
def test_what_does_not_matter_is_not_refused(change, tmp_path):
    # the revision tells which model it is, wherever it lies
    assert Monitor.load(a_monitor().save(tmp_path), expect=spec(**change))


def test_a_monitor_for_any_adapter_takes_later_iterations_of_the_same_base(tmp_path):
    folder = a_monitor(any_adapter=True).save(tmp_path)
    assert Monitor.load(folder, expect=spec(adapter="iteration_3"))
    with pytest.raises(MismatchError, match="revision"):
        Monitor.load(folder, expect=spec(adapter="iteration_3", revision="beef"))


def damaged(folder, what):
    card, weights = folder / "monitor.json", folder / "weights.safetensors"
    if what == "no card":
        card.unlink()
    elif what == "no weights":
        weights.unlink()
    elif what == "card cut off":
        card.write_text(card.read_text()[:100])
    elif what == "weights cut off":
        weights.write_bytes(weights.read_bytes()[:-4])
    elif what == "weights of another":
        save_file({"weight": torch.zeros(8, 1), "bias": torch.zeros(1)}, weights)
    else:
        told = json.loads(card.read_text())
        told |= {"head of another": {"head": "attention"}, "unknown head": {"head": "maxx"}, "unknown key": {"x": 1},
                 "unknown parameter": {"parameters": {"widow": 3}}, "other width": {"hidden": 9},
                 "impossible parameter": {"parameters": {"steps": 0}}, "later format": {"format": 2}}[what]  # fmt: skip
        card.write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("no card", "is no monitor: it has no monitor.json"),
        ("no weights", "weights.safetensors cannot be read"),
        ("card cut off", "monitor.json cannot be read"),
        ("weights cut off", "weights.safetensors is damaged"),
        ("weights of another", "not the one that monitor.json belongs to"),
        ("head of another", r"weight must be \[hidden, 2\]"),
        ("unknown head", "did you mean 'max'"),
        ("unknown key", "monitor.json cannot be read"),
        ("unknown parameter", "no parameter 'widow'"),
        ("impossible parameter", "steps must be at least 1"),
        ("other width", "says 9 numbers per token, the weights have 8"),
        ("later format", "format"),
    ],
)
def test_damaged_files_say_what_is_wrong(what, told, tmp_path):
    folder = a_monitor().save(tmp_path / "m")
    damaged(folder, what)
    with pytest.raises(MonitorError, match=told):
        Monitor.load(folder)


def test_weights_that_are_no_tensors_are_refused_even_with_the_right_digest(tmp_path):
    import hashlib
    import pickle

    folder = a_monitor().save(tmp_path)
    data = pickle.dumps({"weight": 1})
    (folder / "weights.safetensors").write_bytes(data)
    told = json.loads((folder / "monitor.json").read_text())
    (folder / "monitor.json").write_text(
        json.dumps(told | {"weights_sha256": hashlib.sha256(data).hexdigest()})
    )
    with pytest.raises(MonitorError):
        Monitor.load(folder)


def test_activations_that_cannot_be_scored():
    with pytest.raises(ValueError, match="vectors of 8 numbers, these have 6"):
        a_monitor().score(rows(hidden=6))
    broken = Ragged.from_rows([torch.zeros(2, 8), torch.full((1, 8), math.inf)])
    for tokens in (False, True):
        with pytest.raises(NotFiniteError, match="row 1 "):
            a_monitor().score(broken, tokens=tokens)


def test_names_of_monitors_tell_them_apart():
    names = [a_monitor("max", seed=2).card.name, a_monitor("mean", layers=(4, 8)).card.name]
    assert names == ["max-layer4-seed2", "mean-layer4+8"]


def test_the_hub_gets_weights_card_and_a_readme_without_paths(tmp_path):
    monitor = a_monitor("attention", of=spec(model="/home/somebody/models/llama-x"))
    card = monitor.card.model_copy(
        update={"training": TRAINING.model_copy(update={"names": ["/home/somebody/store/stakes"]})}
    )
    folder = Monitor(monitor.head, card).save(tmp_path / "m")
    out = stage(folder, tmp_path / "hub")
    assert sorted(p.name for p in out.iterdir()) == ["README.md", "monitor.json", "weights.safetensors"]
    text = (out / "README.md").read_text() + (out / "monitor.json").read_text()
    assert "somebody" not in text
    for told in ("**high stakes**", "llama-x", "stakes; 100 conversations in 50 groups, 40 of them positive",
                 "3 left out (not labelled)", "| auroc | 0.900 | 0.850 to 0.940 |", "80.0 % of 100", "0.50 % of\n200",
                 "For research"):  # fmt: skip
        assert told in text, told
    # what was published scores the same capture
    assert Monitor.load(out, expect=spec()).score(rows()).logits == pytest.approx(
        monitor.score(rows()).logits
    )


def test_a_model_on_the_hub_is_named_as_the_base(tmp_path):
    out = stage(a_monitor().save(tmp_path / "m"), tmp_path / "hub")
    assert "base_model: some/model" in (out / "README.md").read_text()


class Hub:
    """What of `HfApi` is used."""

    def __init__(self, private=True):
        self.private, self.uploaded = private, []

    def create_repo(self, repo, **options):
        assert options["repo_type"] == "model"
        return type("Repo", (str,), {"repo_id": repo})(f"https://hub/{repo}")

    def repo_info(self, repo, **options):
        return type("Info", (), {"private": self.private})()

    def upload_folder(self, *, repo_id, folder_path, **options):
        from pathlib import Path

        self.uploaded = sorted(p.name for p in Path(folder_path).iterdir())


def test_push_uploads_to_a_private_repository(tmp_path, monkeypatch):
    hub = Hub()
    monkeypatch.setattr(monitor_hub, "HfApi", lambda: hub)
    assert push_to_hub(a_monitor().save(tmp_path), "user/stakes") == "https://hub/user/stakes"
    assert hub.uploaded == ["README.md", "monitor.json", "weights.safetensors"]


def test_a_public_repository_is_refused_unless_meant(tmp_path, monkeypatch):
    hub = Hub(private=False)
    monkeypatch.setattr(monitor_hub, "HfApi", lambda: hub)
    folder = a_monitor().save(tmp_path)
    with pytest.raises(MonitorError, match="public"):
        push_to_hub(folder, "user/stakes")
    assert hub.uploaded == []
    push_to_hub(folder, "user/stakes", private=False)
    assert hub.uploaded


def test_what_the_hub_refuses_is_said(tmp_path, monkeypatch):
    class Unreachable(Hub):
        def create_repo(self, repo, **options):
            raise ConnectionError("no route")

    monkeypatch.setattr(monitor_hub, "HfApi", Unreachable)
    with pytest.raises(MonitorError, match="no route.*hf auth login"):
        push_to_hub(a_monitor().save(tmp_path), "user/stakes")
