"""VMoNFClassifier: labels of any kind, rows without one, and several components a class."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.utils.estimator_checks import check_estimator

from pyro_vmonf import VMoNFClassifier
from pyro_vmonf.estimator.classes import component_labels, read_targets

pytestmark = [
    pytest.mark.filterwarnings("ignore::pyro_vmonf.automatic.SearchWarning"),
    pytest.mark.filterwarnings("ignore:training ended at the greatest:sklearn.exceptions.ConvergenceWarning"),
]

MEANS = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0], [8.0, 8.0]])
PLACES = np.arange(120) % 4
X = MEANS[PLACES] + np.random.default_rng(0).normal(size=(120, 2))
TRUTH = PLACES % 2


def classifier(per_class=1, **parameters):
    """A classifier without flows, whose fit takes a moment."""
    return VMoNFClassifier(per_class, **{"init_params": "gmm", "max_iter": 0, "random_state": 0, **parameters})


def few_labels(values, none, every=4):
    """The labels of some rows, and ``none`` of the others."""
    return [values[c] if i // 4 % every == 0 else none for i, c in enumerate(TRUTH)]


@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks(monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    torch.set_default_dtype(torch.float32)  # what users have
    estimator = VMoNFClassifier(components="realnvp", init_params="gmm", n_init=1, max_iter=1)
    results = check_estimator(estimator, on_skip=None, on_fail=None)
    assert not [(r["check_name"], r["exception"]) for r in results if r["status"] in {"failed", "xfail"}]
    assert len(results) > 40


LABELS = {
    "texts and None": np.array(few_labels(["no", "yes"], None), dtype=object),
    "texts and NaN": pd.Series(few_labels(["no", "yes"], np.nan), dtype=object),
    "numbers and NaN": np.array(few_labels([3.0, 7.0], np.nan)),
    "nullable integers": pd.Series(few_labels([3, 7], pd.NA), dtype="Int64"),
    "truth and None": np.array(few_labels([False, True], None), dtype=object),
    "all rows": np.where(TRUTH == 0, "no", "yes"),
    "a tensor": torch.tensor(TRUTH),
}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("per_class", [1, 2])
def test_labels_of_any_kind(name, per_class):
    y = LABELS[name]
    found = classifier(per_class).fit(X, y)
    assert len(found.classes_) == 2
    assert set(found.predict(X)) <= set(found.classes_)
    assert found.predict_proba(X).shape == found.predict_proba(X, "exact").shape == (120, 2)
    np.testing.assert_allclose(found.predict_proba(X).sum(1), 1)
    assert (found.predict(X) == found.classes_[TRUTH]).mean() > (0.95 if per_class == 2 else 0.9)
    assert found.model_.n_components == 2 * per_class


def test_more_components_follow_classes_in_pieces():
    y = (PLACES == 1) | (PLACES == 2)  # opposite corners: no two Gaussians tell them apart
    one, two = classifier(1).fit(X, y), classifier(2).fit(X, y)
    assert two.score(X, y) > 0.97
    assert two.score_samples(X).mean() > one.score_samples(X).mean() + 0.3


def test_minus_one_stands_for_no_label_where_one_says_so():
    y = np.array(few_labels([0, 1], -1))
    found = classifier(unlabelled=-1).fit(X, y)
    assert found.classes_.tolist() == [0, 1]
    assert found.score(X, y) > 0.9
    with pytest.warns(UserWarning, match="unlabelled=-1"):
        assert read_targets(y, 120).classes.tolist() == [-1, 0, 1]


def test_minus_one_and_one_are_two_classes():
    assert read_targets(np.where(TRUTH == 0, -1, 1), 120).classes.tolist() == [-1, 1]


def test_the_score_counts_labelled_rows_alone():
    found = classifier().fit(X, TRUTH)
    y = TRUTH.astype(float)
    y[10:] = np.nan
    y[0] = 1 - y[0]
    right = found.predict(X[:10]) == y[:10]
    assert found.score(X, y) == pytest.approx(right.mean())
    weight = np.arange(120.0)
    assert found.score(X, y, weight) == pytest.approx(np.average(right, weights=weight[:10]))
    with pytest.raises(ValueError, match="y: expected a label of at least one row"):
        found.score(X, np.full(120, np.nan))


def test_classes_of_weight_zero_are_left_out():
    y = np.where(PLACES == 3, "far", np.where(TRUTH == 0, "no", "yes"))
    found = classifier().fit(X, y, sample_weight=(PLACES != 3).astype(float))
    assert found.classes_.tolist() == ["no", "yes"]


@pytest.mark.parametrize("per_class", [1, 2])
def test_a_weight_of_two_is_a_row_twice(per_class):
    weight = np.random.default_rng(1).integers(0, 3, 120).astype(float)
    y = np.array(few_labels([0.0, 1.0], np.nan, every=2))
    weighted = classifier(per_class).fit(X, y, sample_weight=weight)
    times = weight.astype(int)
    repeated = classifier(per_class).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(weighted.score_samples(X), repeated.score_samples(X), rtol=1e-6)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        (np.full(120, np.nan), "y: expected a row of weight above 0 with a label"),
        (TRUTH[:5], "y: expected one label for each of 120 rows, got 5"),
        (np.linspace(0, 1, 120), "Unknown label type: continuous"),
        (np.array([*few_labels(["a", "b"], 1)], dtype=object), "y: expected labels of one kind"),
    ],
)
def test_labels_that_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        classifier().fit(X, y)


def test_a_class_with_fewer_rows_than_components():
    y = np.where(np.arange(120) == 5, "rare", "usual")
    with pytest.raises(ValueError, match=r"components_per_class: .*1 of 'rare', got 2"):
        classifier(2).fit(X, y)
    with pytest.raises(ValueError, match="components_per_class"):
        classifier(0).fit(X, y)


def test_labels_of_components():
    y = read_targets(few_labels(["a", "b"], None), 120)
    assert component_labels(X, y, None, 1, 0).tolist() == y.codes.tolist()
    soft = component_labels(X, y, None, 2, 0)
    assert soft.shape == (120, 4)
    assert (soft[~y.is_labelled] == -1).all()
    shares = soft[y.is_labelled].reshape(-1, 2, 2).sum(2)  # of the classes
    np.testing.assert_allclose(shares, np.eye(2)[y.codes[y.is_labelled]], atol=1e-9)


def test_few_rows():
    with pytest.warns(ConvergenceWarning, match="4 distinct rows"):
        found = VMoNFClassifier(random_state=0).fit([[0.0], [1.0], [10.0], [11.0]], ["a", "a", "b", None])
    assert found.predict([[0.5], [10.5]]).tolist() == ["a", "b"]


@pytest.mark.filterwarnings("ignore::pyro_vmonf.evaluation.InferenceGapWarning")
def test_in_a_search_over_parameters():
    y = np.array(few_labels([0.0, 1.0], np.nan, every=2))
    search = GridSearchCV(classifier(), {"components_per_class": [1, 2]}, cv=KFold(3, shuffle=True, random_state=0))
    assert search.fit(X, y).best_score_ > 0.9
