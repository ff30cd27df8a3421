"""Quantiles that intervals are made of.

SciPy is loaded when the first is asked for: it takes a fifth of a second, which every `inspect eval` would
wait.
"""

from statistics import NormalDist


def normal_quantile(share: float) -> float:
    """Of the standard normal distribution, `share` in 0..1."""
    return NormalDist().inv_cdf(share)


def student_quantile(df: float, share: float) -> float:
    """Of Student's t with `df` degrees of freedom, which need not be whole; `share` in 0..1."""
    from scipy.special import stdtrit

    return float(stdtrit(df, share))
