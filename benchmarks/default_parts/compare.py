"""Statistics for comparisons over splits and over data sets."""

import math

import numpy as np
from scipy import stats

__all__ = ["corrected_test", "friedman", "holm", "nemenyi", "ranks"]


def corrected_test(differences, ratio):
    """The mean of the differences over splits, and the two-sided p-value that it is zero.

    The variance is that of random splits whose training sets overlap: (1/J + n_test/n_train) s².

    Reference: Nadeau and Bengio, *Inference for the generalization error*, Machine Learning 52, 2003.

    Args:
        differences: One for each of J splits; a p-value needs two.
        ratio: n_test / n_train.
    """
    differences = np.asarray(differences, float)
    count, mean = len(differences), float(np.mean(differences))
    if not np.isfinite(differences).all() or count < 2:
        return mean, None
    error = math.sqrt((1 / count + ratio) * float(np.var(differences, ddof=1)))
    if error == 0:
        return mean, float(mean == 0)
    return mean, float(2 * stats.t.sf(abs(mean) / error, count - 1))


def holm(p):
    """Holm's adjusted p-values of ``{name: p}``; None stays None and does not count."""
    ordered = sorted((value, name) for name, value in p.items() if value is not None)
    adjusted, greatest = dict.fromkeys(p), 0.0
    for i, (value, name) in enumerate(ordered):
        greatest = max(greatest, min(1.0, (len(ordered) - i) * value))
        adjusted[name] = greatest
    return adjusted


def ranks(table):
    """The mean rank of each column of ``(sets, methods)``, the greatest value first; ties share theirs."""
    return stats.rankdata(-np.round(table, 12), axis=1).mean(0)


def friedman(table):
    """The p-value that all columns of ``(sets, methods)`` rank alike, or None below three methods or two sets."""
    if table.shape[1] < 3 or len(table) < 2:
        return None
    each = stats.rankdata(-np.round(table, 12), axis=1)
    return float(stats.friedmanchisquare(*each.T).pvalue) if (each != each[:, :1]).any() else 1.0


def nemenyi(methods, sets, level=0.05):
    """The difference of mean ranks from which two methods differ.

    Reference: Demšar, *Statistical comparisons of classifiers over multiple data sets*, JMLR 7, 2006.
    """
    quantile = stats.studentized_range.ppf(1 - level, methods, np.inf) / math.sqrt(2)
    return float(quantile * math.sqrt(methods * (methods + 1) / (6 * sets)))
