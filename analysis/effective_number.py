"""How many independent yes/no observations a mean is worth, and Wilson's interval on that number.

All intervals of shares, of means on a scale with two ends, and of AUROCs are this one.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

LEVEL = 0.95
"""Of all intervals."""


class Ends(NamedTuple):
    """Of an interval; NaN if it has none."""

    low: float
    high: float


NO_ENDS = Ends(math.nan, math.nan)


def normal_quantile(share: float) -> float:
    """Of the standard normal distribution, `share` in 0..1."""
    return NormalDist().inv_cdf(share)


def student_quantile(df: float, share: float) -> float:
    """Of Student's t with `df` degrees of freedom, which need not be whole; `share` in 0..1."""
    # SciPy takes a fifth of a second to load, which every `inspect eval` would wait
    from scipy.special import stdtrit

    return float(stdtrit(df, share))


def wilson(share: float, number: float, level: float = LEVEL) -> Ends:
    """The score interval of a share of `number` independent observations, which need not be whole.

    Source: Wilson 1927 (J. Am. Stat. Assoc. 22).

    Args:
        share: In [0, 1]; it lies within the interval, also where rounding would put it outside.
        number: Above 0.
        level: In (0, 1).
    """
    z = normal_quantile((1 + level) / 2)
    centre = (share + z * z / (2 * number)) / (1 + z * z / number)
    spread = math.sqrt(share * (1 - share) / number + z * z / (4 * number * number))
    half = z / (1 + z * z / number) * spread
    return Ends(max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def number_of_yes_no(share: float, variance: float, clusters: int) -> float:
    """Observations that a share of yes/no answers is worth: at most as many as there are clusters.

    It is share (1 - share) / variance. The cap holds where few clusters make the variance look smaller than
    it is: 20 states with one yes and one no each have none at all. With it,
    0 of 16 gives [0, 0.19] and not [0, 0].

    Source: the effective sample size of Korn and Graubard 1998 (Survey Methodology 24(2)); the cap is ours.

    Args:
        share: In [0, 1].
        variance: Of the share, between clusters; 0 if it does not vary.
        clusters: How many.
    """
    return min(clusters, share * (1 - share) / variance) if variance > 0 else clusters


def number_on_a_scale(
    mean: float, variance: float, clusters: float, df: float, *, weight: float, level: float = LEVEL
) -> float:
    """Observations that a mean of values between 0 and 1 is worth.

    That is more than there are clusters if they vary little. What clusters that were not seen might hold
    counts too: `weight` of an observation lies at either end of the scale, as in Jeffreys' interval (0.5), of
    which this is the form for values in between. Yes/no answers, one a cluster, are worth what they number.
    The rest is made smaller as t is wider than the normal.

    Source: Rubin 1981 (Annals of Statistics 9(1)), the Bayesian bootstrap, whose mean and variance with these
    two observations give the number; Brown, Cai and DasGupta 2001 (Statistical Science 16(2)), Jeffreys' and
    Wilson's intervals; Korn and Graubard 1998, t for the normal. The weight is ours, by simulation.

    Args:
        mean: In [0, 1].
        variance: Of the mean, between clusters.
        clusters: How many, or `1 / sum of squared weights` where they differ in size.
        df: Degrees of freedom of the variance.
        weight: Above 0.
        level: Of the interval that the number is for.
    """
    within = variance * (clusters - 1)
    whole = clusters + 2 * weight
    middle = (clusters * mean + weight) / whole
    spread = (clusters * (within + mean * mean) + weight) / whole - middle * middle
    number = middle * (1 - middle) * (whole + 1) / spread - 1 - 2 * weight
    if number > clusters:
        z, t = normal_quantile((1 + level) / 2), student_quantile(df, (1 + level) / 2)
        number = clusters + (number - clusters) * (z / t) ** 2 * (clusters - 1) / clusters
    return max(number, 0.5)
