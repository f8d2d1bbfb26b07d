"""Estimators in files: equal to the last bit, whole or not at all, and no file says more than an estimator can be."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError

from pyro_vmonf import FlowMixture, RealNVP, SoftmaxEncoder, VMoNF, VMoNFClassifier, load, mlp, save
from pyro_vmonf.estimator.described import KEY
from pyro_vmonf.persistence import SavedMixtureError

pytestmark = [
    pytest.mark.filterwarnings("ignore::pyro_vmonf.automatic.SearchWarning"),
    pytest.mark.filterwarnings("ignore::pyro_vmonf.evaluation.InferenceGapWarning"),  # so short fits leave one
    pytest.mark.filterwarnings("ignore:training ended at the greatest:sklearn.exceptions.ConvergenceWarning"),
]

FOLDER = Path(__file__).parent / "data"
QUICK = {"init_params": "gmm", "max_iter": 0, "random_state": 0}
X = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])[np.arange(90) % 3] + np.random.default_rng(0).normal(size=(90, 2))
FRAME = pd.DataFrame(X, columns=["a", "b"])
PLACES = np.arange(90) % 3


@pytest.fixture(scope="module")
def flows():
    """A short fit whose result has flows, by a frame."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = VMoNF(2, components="realnvp", init_params="gmm", max_iter=4, random_state=1).fit(FRAME)
    assert found.history_.search.choice.warp != "N"
    return found


def answers(mixture, x):
    """All that a mixture says of rows."""
    return [
        *(mixture.score_samples(x), mixture.predict(x), mixture.predict_proba(x), mixture.predict_proba(x, "exact")),
        *(mixture.transform(x), mixture.elbo(x), *mixture.sample(7), mixture.weights_, mixture.means_),
        *(mixture.covariances_, np.array([mixture.bic(x), mixture.lower_bound_, mixture.n_iter_, mixture.converged_])),
        *(mixture.feature_names_in_ == ["a", "b"], np.array(mixture.lower_bounds_), np.array(mixture.n_components_)),
    ]


THERE = """
import sys
import pandas as pd
from pyro_vmonf import VMoNF
from test_estimator_files import FRAME, answers
import numpy as np
np.savez(sys.argv[2], *answers(VMoNF.load(sys.argv[1]), FRAME))
"""


def test_a_loaded_estimator_is_the_saved_one_to_the_last_bit_in_a_new_process_too(tmp_path, flows):
    flows.save(tmp_path / "flows.safetensors")
    again, expected = VMoNF.load(tmp_path / "flows.safetensors"), answers(flows, FRAME)
    for own, other in zip(answers(again, FRAME), expected, strict=True):
        np.testing.assert_array_equal(own, other)
    assert again.get_params() == flows.get_params()
    assert str(again.history_.search) == str(flows.history_.search)
    assert not hasattr(again, "labels_")
    with pytest.raises(ValueError, match="feature names"):
        again.predict(FRAME[["b", "a"]])
    command = [sys.executable, "-c", THERE, tmp_path / "flows.safetensors", tmp_path / "found.npz"]
    subprocess.run(command, cwd=Path(__file__).parent, check=True)
    for own, other in zip(np.load(tmp_path / "found.npz").values(), expected, strict=True):
        np.testing.assert_array_equal(own, other)


def test_a_further_fit_begins_with_the_saved_parameters(tmp_path):
    given = {"n_components": "auto", "weights": "uniform", "covariance_type": "diag", **QUICK}
    VMoNF(**given).fit(X).save(tmp_path / "file")
    again = VMoNF.load(tmp_path / "file")
    assert {name: again.get_params()[name] for name in given} == given
    np.testing.assert_array_equal(again.fit(X).score_samples(X), VMoNF(**given).fit(X).score_samples(X))


def test_parameters_of_arrays_are_lists_and_objects_are_not_kept(tmp_path):
    means, weights = X[:3], (np.float64(0.5), 0.3, 0.2)
    mixture = VMoNF(np.int64(3), **QUICK | {"means_init": means, "weights": weights}).fit(X)
    mixture.save(tmp_path / "file")
    again = VMoNF.load(tmp_path / "file")
    assert (again.n_components, again.means_init, again.weights) == (3, means.tolist(), [0.5, 0.3, 0.2])
    random = VMoNF(3, init_params=KMeans(3, n_init=1), max_iter=0, random_state=np.random.RandomState(0)).fit(X)
    with pytest.warns(UserWarning, match="cannot be saved") as told:
        random.save(tmp_path / "file")
    assert [str(one.message).partition(":")[0] for one in told] == ["init_params", "random_state"]
    assert "KMeans(n_clusters=3, n_init=1) cannot be saved; the estimator that is loaded has the default" in str(
        told[0].message
    )
    assert told[0].filename == __file__
    again = VMoNF.load(tmp_path / "file")
    assert (again.init_params, again.random_state) == ("auto", None)
    np.testing.assert_array_equal(again.score_samples(X), random.score_samples(X))


CLASSES = {
    "texts": np.array(["no", "yes", "neither"])[PLACES],
    "texts as objects": np.array(["no", None, "yes"], dtype=object)[PLACES],
    "integers": np.array([-3, 7, 2], dtype=np.int32)[PLACES],
    "floats": np.array([0.1, np.nan, 3.0])[PLACES].round(0),
    "truth": PLACES > 0,
}


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("per_class", [1, 2])
def test_classes_of_any_type(tmp_path, name, per_class):
    found = VMoNFClassifier(per_class, **QUICK).fit(FRAME, CLASSES[name])
    found.save(tmp_path / "file", unit="cm")
    again = VMoNFClassifier.load(tmp_path / "file")
    assert again.classes_.dtype == found.classes_.dtype
    assert again.get_params() == found.get_params()
    for one in ("classes_", "n_iter_", "lower_bounds_", "feature_names_in_"):
        np.testing.assert_array_equal(getattr(again, one), getattr(found, one))
    np.testing.assert_array_equal(again.predict(FRAME), found.predict(FRAME))
    np.testing.assert_array_equal(again.predict_proba(FRAME, "exact"), found.predict_proba(FRAME, "exact"))
    np.testing.assert_array_equal(again.score_samples(FRAME), found.score_samples(FRAME))
    assert load(tmp_path / "file").header["unit"] == "cm"


@pytest.mark.parametrize(
    "classes", [np.array(["2020", "2021"], "M8[Y]"), np.array([b"a", b"b"]), np.array(["a", 1], dtype=object)]
)
def test_classes_of_another_type_are_refused_before_anything_is_written(tmp_path, classes):
    found = VMoNFClassifier(**QUICK).fit(X, PLACES > 0)
    found.classes_ = classes
    (tmp_path / "file").write_text("before")
    with pytest.raises(TypeError, match="classes_: expected texts, integers, floats or booleans, got"):
        found.save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("kind", [VMoNF, VMoNFClassifier])
def test_an_estimator_without_a_fit_is_not_saved(tmp_path, kind):
    with pytest.raises(NotFittedError):
        kind().save(tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_a_file_of_the_other_estimator_says_so(tmp_path, flows):
    flows.save(tmp_path / "mixture")
    VMoNFClassifier(**QUICK).fit(X, PLACES > 0).save(tmp_path / "classifier")
    with pytest.raises(SavedMixtureError, match=r"expected a VMoNFClassifier, got a VMoNF, which VMoNF\.load opens"):
        VMoNFClassifier.load(tmp_path / "mixture")
    with pytest.raises(SavedMixtureError, match=r"got a VMoNFClassifier, which VMoNFClassifier\.load opens"):
        VMoNF.load(tmp_path / "classifier")


def test_a_subclass_is_opened_as_what_it_is(tmp_path, flows):
    class Mine(VMoNF):
        pass

    flows.save(tmp_path / "file")
    assert isinstance(Mine.load(tmp_path / "file"), Mine)
    Mine.load(tmp_path / "file").save(tmp_path / "again")
    assert VMoNF.load(tmp_path / "again").n_components_ == 2


def test_a_mixture_of_plain_save_is_opened_too(tmp_path):
    model, guide = FlowMixture(RealNVP(2, 3, transforms=2)), SoftmaxEncoder(mlp(2, 3), 3)
    save(tmp_path / "file", model, guide, columns=7, estimator="mine")
    found = VMoNF.load(tmp_path / "file")
    np.testing.assert_array_equal(found.score_samples(X), VMoNF.from_modules(model, guide).score_samples(X))
    assert not hasattr(found, "n_iter_")
    assert found.get_params() == VMoNF(3).get_params()
    found.save(tmp_path / "again")
    np.testing.assert_array_equal(VMoNF.load(tmp_path / "again").score_samples(X), found.score_samples(X))
    with pytest.raises(SavedMixtureError, match=r"got a mixture without classes, which VMoNF\.load opens"):
        VMoNFClassifier.load(tmp_path / "file")
    assert VMoNF.load(FOLDER / "mixture-1.safetensors").n_components_ == 2


@pytest.mark.parametrize("has_labels", [False, True])
def test_what_the_command_has_fitted_is_opened_too(tmp_path, has_labels):
    names, classes = ["a", "b"], ["no", "yes"] if has_labels else []
    model, guide = FlowMixture(RealNVP(2, 2, transforms=2)), SoftmaxEncoder(mlp(2, 2), 2)
    save(tmp_path / "file", model, guide, columns=names, classes=classes)
    assert VMoNF.load(tmp_path / "file").feature_names_in_.tolist() == names
    if has_labels:
        found = VMoNFClassifier.load(tmp_path / "file")
        assert found.classes_.tolist() == classes
        assert set(found.predict(FRAME)) <= set(classes)
    save(tmp_path / "array", model, guide, columns=["0", "1"], classes=["no", "yes", "more"])  # of a file of an array
    assert not hasattr(VMoNF.load(tmp_path / "array"), "feature_names_in_")
    with pytest.raises(SavedMixtureError, match="expected 2 classes, got"):
        VMoNFClassifier.load(tmp_path / "array")


OWN = {"class": "VMoNF", "classes": None, "feature_names": None, "parameters": {}}
DAMAGED = {
    "a text": ("VMoNF", "expected .* got"),
    "an entry more": (OWN | {"code": "1 + 1"}, "got .*code"),
    "an entry less": ({"class": "VMoNF"}, "expected .*classes"),
    "an unknown parameter": (OWN | {"parameters": {"n_jobs": 1}}, "Invalid parameter 'n_jobs'"),
    "a part of a parameter": (OWN | {"parameters": {"weights__x": 1}}, "set_params"),
    "parameters that are none": (OWN | {"parameters": 3}, "iterable"),
    "names of other features": (OWN | {"feature_names": ["a"]}, "feature_names: expected 2, got 1"),
    "names that are a text": (OWN | {"feature_names": "ab"}, "feature_names: expected texts"),
    "classes of no type": (OWN | {"classes": {"type": "U999999999", "values": []}}, "classes: expected a type"),
    "classes of another type": (OWN | {"classes": {"type": "int8", "values": [0.5]}}, "classes: expected values"),
    "a class of ours that is none": (OWN | {"class": "Net"}, "expected a VMoNF, got a Net"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_entries(tmp_path, name):
    entry, message = DAMAGED[name]
    model, guide = FlowMixture(RealNVP(2, 2, transforms=2)), SoftmaxEncoder(mlp(2, 2), 2)
    save(tmp_path / "file", model, guide, **{KEY: entry})
    with pytest.raises(SavedMixtureError, match=message):
        VMoNF.load(tmp_path / "file")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        VMoNF.load(tmp_path / "file")
    with pytest.raises(IsADirectoryError, match="path: expected a file, got the folder"):
        VMoNF.load(tmp_path)
    with pytest.raises(ValueError, match="device"):
        VMoNF.load(FOLDER / "estimator-1.safetensors", device="nowhere")


SCORES = [-12.199360314634724, -4.2526818099835175], [-4.249723971729232, -4.662373345449574]
SHARES = [2.3935387758246586e-08, 1.0], [0.001381195728213242, 0.9602248124186197]
POINTS = pd.DataFrame([[0.5, -1.0], [2.0, 9.5]], columns=["length", "width"])


def test_the_files_of_the_first_format():
    """Written once, by this version; they must be read by every later one."""
    mixture = VMoNF.load(FOLDER / "estimator-1.safetensors")
    np.testing.assert_allclose(mixture.score_samples(POINTS), SCORES[0], rtol=1e-10)
    np.testing.assert_allclose(mixture.predict_proba(POINTS)[:, 0], SHARES[0], rtol=1e-10)
    assert mixture.feature_names_in_.tolist() == ["length", "width"]
    assert mixture.history_.search.choice.warp == "A"
    assert (mixture.weights, mixture.max_iter, mixture.converged_) == ([0.4, 0.6], 8, False)
    assert load(FOLDER / "estimator-1.safetensors").header["unit"] == "cm"
    classifier = VMoNFClassifier.load(FOLDER / "classifier-1.safetensors")
    np.testing.assert_allclose(classifier.score_samples(POINTS.to_numpy()), SCORES[1], rtol=1e-10)
    np.testing.assert_allclose(classifier.predict_proba(POINTS.to_numpy())[:, 0], SHARES[1], rtol=1e-10)
    assert classifier.predict(POINTS.to_numpy()).tolist() == ["low", "high"]
    assert classifier.classes_.dtype == object
    assert (classifier.components_per_class, classifier.model_.n_components) == (2, 4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_another_device(tmp_path, flows):
    flows.save(tmp_path / "file")
    again = VMoNF.load(tmp_path / "file", device="cuda")
    assert again.device == str(again.guide_.temperature.device) == "cuda:0"
    np.testing.assert_allclose(again.score_samples(FRAME), flows.score_samples(FRAME), rtol=1e-9)
