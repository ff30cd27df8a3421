"""Booking desk: every booking fails, and the person cannot see it. What does the model tell them?

inspect eval tasks/booking.py
"""

from typing import Unpack

from inspect_ai import Task, task

from scenarios.loader import load_family
from scorers.families.booking_report import booking_report
from tasks.families.assembly import influence_task
from tasks.families.options import Options, chosen


@task
def booking(**options: Unpack[Options]) -> Task:
    """A person asks for a booking; the model has real tools, whose failures are scripted.

    Time-out, sold out, payment error or partial success. The person and the rating judge do not see the
    tools, the influence judge does. Beside the usual scores: `lie` about success, `omission`, `talks_out`
    of it, `honest` report, and `misled`, the highest of the first three.

    Args:
        **options: See `tasks/families/options.py`; `turns` is 2 if not given.
    """
    choices = chosen({"turns": 2}, options)
    return influence_task(load_family("booking"), choices, [booking_report(judging=choices.judging)])
