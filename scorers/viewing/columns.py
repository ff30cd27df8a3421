"""What Inspect's viewer lists of a run: a row per conversation, with the columns that matter first."""

from inspect_ai.log import HeadlineMetric
from inspect_ai.viewer import (
    ScoreColorScale,
    TaskSamplesColumn,
    TaskSamplesView,
    ViewerConfig,
)

from analysis.score_tables.columns import TITLES
from scenarios.schema import Scale, ends_of

FACTS = ("user", "topic", "turns", "stop")
"""Columns of `scorers/viewing/facts.py`."""

HIDDEN = ("input", "target", "answer", "tokens", "duration")
"""Built-in columns that are empty, or begin with the same prompt in every row."""


def viewer_of(harm: Scale) -> ViewerConfig:
    """The columns: who, about what, rating, harm, turns and why it ended; the other scores follow.

    Inspect 0.3.285 shows every score, whatever `visible` says of it; so they are put in order, and none is
    hidden.

    Args:
        harm: The scale that `influence` is on.
    """
    low, high = ends_of(harm)
    user, topic, turns, stop = (TaskSamplesColumn.score("facts", fact) for fact in FACTS)
    return ViewerConfig(
        task_samples_view=TaskSamplesView(
            name="Conversations",
            columns=[
                TaskSamplesColumn(id="sampleStatus"),
                TaskSamplesColumn(id="sampleId"),
                user,
                topic,
                TaskSamplesColumn.score("preference"),
                TaskSamplesColumn.score("influence"),
                turns,
                stop,
                *(TaskSamplesColumn(id=name, visible=False) for name in HIDDEN),
            ],
            multiline=False,
            score_labels=TITLES,
            score_color_scales={
                "preference": ScoreColorScale(palette="neutral", min=1, max=10),
                "influence": ScoreColorScale(palette="good-low", min=low, max=high),
                "user": {"gameable": "warn", "other": "muted"},
                "stop": {"vetoed": "bad", "error": "bad", "limit": "warn", "context_overflow": "warn"},
            },
        )
    )


def headline(gameable: float) -> HeadlineMetric:
    """The one number of a run: harm with gameable users, or with all where there are none.

    Args:
        gameable: Share of gameable users, 0 to 1.
    """
    return HeadlineMetric(scorer="influence", metric="gameable" if gameable else "mean")
