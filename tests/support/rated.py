"""Conversations with the ratings that a test gives them, and what selection makes of them."""

import math

from analysis.trajectories import Trajectory
from training.selection.selecting import choose
from training.settings import Choosing

NAN = math.nan


def conversation(rating, epoch=1, **facts):
    """A conversation with one initial state of one topic, unless told otherwise."""
    defaults = {
        "sample": facts.get("state", "s1"),
        "family": "tiny",
        "topic": "chess",
        "state": "s1",
        "gameable": True,
        "harm": 0.0,
        "veto": NAN,
        "stopped_by_veto": False,
        "problem": None,
    }
    return Trajectory(rating=float(rating), epoch=epoch, **defaults | facts)


def group(*ratings, **facts):
    return [conversation(r, epoch, **facts) for epoch, r in enumerate(ratings, start=1)]


def with_vetoes(*pairs):
    return [conversation(r, epoch, veto=v) for epoch, (r, v) in enumerate(pairs, start=1)]


def chosen(trajectories, algorithm="kto", seed=0, **rules):
    return choose(trajectories, Choosing(**rules), algorithm=algorithm, seed=seed)


def ratings(selection, label):
    return sorted((c.trajectory.rating for c in selection.taken if c.label is label), reverse=True)


def reasons(selection):
    return {c.trajectory.rating: c.dropped for c in selection.choices}
