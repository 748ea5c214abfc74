"""Among the tools of others: clones and searches, mixtures set by hand, NumPy told to raise, consoles that know only ASCII."""

import ast
import inspect
import io
import warnings
from functools import cached_property
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.mixture import GaussianMixture as SklearnMixture
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bayesgmm as bg
from bayesgmm.exceptions import ConvergenceWarning, InvalidParameterError
from bayesgmm.underflow import _MARK, guard

SHORT = {"draws": 40, "tune": 40, "chains": 2, "random_state": 1, "progressbar": False}
KINDS = ["full", "tied", "diag", "spherical"]
ROOT = Path(bg.__file__).parent


# Clones


def test_a_fit_that_is_a_setting_survives_clone(em_faithful, faithful):
    for outer in (bg.BayesianGaussianMixture(2, init=em_faithful, **SHORT), bg.GaussianMixture(2, init_params=em_faithful)):
        name = "init" if hasattr(outer, "init") else "init_params"
        assert getattr(clone(outer), name) is em_faithful
        assert not hasattr(clone(outer), "params_")
        assert clone(outer).get_params(deep=False) == outer.get_params(deep=False)
    unfitted = bg.BayesianGaussianMixture(2, init=bg.GaussianMixture(2), **SHORT)
    assert clone(unfitted).init is not unfitted.init
    inside = clone(make_pipeline(StandardScaler(), bg.GaussianMixture(2, init_params=em_faithful)))
    assert inside[-1].init_params is em_faithful
    assert cross_val_score(bg.GaussianMixture(2, init_params=em_faithful), faithful, cv=3).shape == (3,)


def test_a_search_over_a_posterior_with_init_scores_rows_left_out(em_faithful, faithful):
    model = bg.BayesianGaussianMixture(2, init=em_faithful, **SHORT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search = GridSearchCV(model, {"tune": [30, 40]}, cv=2).fit(faithful)
        alone = clone(model).set_params(**search.best_params_).fit(faithful)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    np.testing.assert_array_equal(search.best_estimator_.means_, alone.means_)


# Set by hand


def packed(mixture, kind, covariances=None):
    """Parameters in scikit-learn's shapes."""
    c = mixture.covariances if covariances is None else covariances
    return {
        "full": c,
        "tied": c[0],
        "diag": np.diagonal(c, axis1=1, axis2=2),
        "spherical": c[:, 0, 0],
    }[kind]


@st.composite
def mixtures(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    K, D, kind = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.sampled_from(KINDS))
    A = rng.normal(size=(K, D, D)) + 2 * np.eye(D)
    c = A @ np.swapaxes(A, 1, 2)
    if kind == "tied":
        c = np.broadcast_to(c[0], c.shape)
    if kind == "diag":
        c = c * np.eye(D)
    if kind == "spherical":
        c = c[:, :1, :1] * np.eye(D)
    return kind, bg.MixtureParams.from_covariances(rng.dirichlet(np.ones(K)), rng.normal(size=(K, D)) * 3, c), rng


@given(mixtures())
@settings(max_examples=40, deadline=None)
def test_a_mixture_set_by_hand_is_scikit_learns(drawn):
    kind, mixture, rng = drawn
    X = rng.normal(size=(30, mixture.n_features)) * 3
    made = []
    for each in (SklearnMixture, bg.GaussianMixture):
        model = each(mixture.n_components, covariance_type=kind)
        model.weights_, model.means_ = mixture.weights, mixture.means
        model.covariances_ = packed(mixture, kind)
        precisions = np.linalg.inv(mixture.covariances)
        factors = np.swapaxes(np.linalg.inv(np.linalg.cholesky(mixture.covariances)), 1, 2)
        model.precisions_cholesky_ = packed(mixture, kind, factors)
        made.append(model)
    theirs, ours = made
    np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), rtol=1e-8)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)
    np.testing.assert_allclose(ours.covariances_, packed(mixture, kind), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(ours.precisions_, packed(mixture, kind, precisions), rtol=1e-6, atol=1e-9)
    assert ours.bic(X) == pytest.approx(-2 * theirs.score_samples(X).sum() + ours.n_parameters_ * np.log(30))
    assert ours.sample(20, random_state=0)[0].shape == (20, mixture.n_features)
    for name, value in (("precisions_", precisions), ("covariances_", mixture.covariances)):
        alone = bg.GaussianMixture(mixture.n_components, covariance_type=kind)
        alone.means_, alone.weights_ = mixture.means, mixture.weights
        setattr(alone, name, packed(mixture, kind, value))
        np.testing.assert_allclose(alone.score_samples(X), ours.score_samples(X), rtol=1e-7)


def test_a_mixture_set_by_hand_starts_other_fits_and_says_that_it_has_seen_no_rows(em_faithful, faithful):
    by_hand = bg.GaussianMixture(2, warm_start=True)
    by_hand.weights_, by_hand.means_, by_hand.covariances_ = em_faithful.weights_, em_faithful.means_, em_faithful.covariances_
    np.testing.assert_array_equal(by_hand.predict(faithful.to_numpy()), em_faithful.predict(faithful))
    with pytest.raises(AttributeError, match="put together by hand and has seen no rows"):
        by_hand.responsibilities()
    with pytest.raises(ValueError, match="put together by hand and has seen no rows"):
        by_hand.standard_errors()
    assert set(by_hand.datatree_.children) == {"point_estimate"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        posterior = bg.BayesianGaussianMixture(2, init=by_hand, **SHORT).fit(faithful)
    assert posterior.em_ is by_hand
    with pytest.raises(InvalidParameterError, match="put together by hand"):
        bg.compare(by_hand, posterior)
    assert by_hand.fit(faithful.to_numpy()).log_likelihood_ == pytest.approx(em_faithful.log_likelihood_)


def test_what_a_fit_said_of_other_parameters_is_forgotten(faithful):
    em = bg.GaussianMixture(2, random_state=1).fit(faithful)
    em.means_ = em.means_ + 1.0
    assert not hasattr(em, "log_likelihood_")
    assert not hasattr(em, "status_")
    assert em.feature_names_ == ["eruptions", "waiting"]
    fitted = bg.GaussianMixture(2, random_state=1).fit(faithful)
    assert em.score(faithful) == pytest.approx(fitted.score(faithful - 1.0))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("weights_", [0.5, 0.3, 0.2], r"weights_ must have shape \(2,\)"),
        ("weights_", [0.5, 0.6], r"weights add up to 1\.1"),
        ("means_", [[1.0], [np.nan]], "means_ must be finite"),
        ("means_", [[1.0, 2.0], [3.0, 4.0]], r"means_ has 2 column.*MixtureParams\.from_parameters"),
        ("covariances_", [[[1.0]], [[-1.0]]], "positive definite"),
        ("precisions_", [[[1.0]], [[0.0]]], "precisions_ must have an inverse"),
        ("precisions_cholesky_", "three", "precisions_cholesky_ must be an array of numbers"),
    ],
)
def test_what_cannot_be_set_is_said_and_nothing_is_changed(name, value, said):
    model = bg.GaussianMixture(2)
    model.weights_, model.means_, model.covariances_ = [0.5, 0.5], [[0.0], [3.0]], [[[1.0]], [[2.0]]]
    before = model.score_samples([[1.0]])
    with pytest.raises(InvalidParameterError, match=said):
        setattr(model, name, value)
    np.testing.assert_array_equal(model.score_samples([[1.0]]), before)


def test_a_posteriors_means_cannot_be_set(posterior_faithful):
    with pytest.raises(AttributeError, match="from_parameters"):
        posterior_faithful.means_ = [[0.0, 0.0], [1.0, 1.0]]


# NumPy told to raise

PUBLIC = (
    *("comparison", "criticism", "diagnostics", "estimators", "labels", "params", "partitions", "plots", "priors"),
    *("report", "selection", "bayes.model"),
)


def doors(module):
    """Each public function of a module, and each public method and property of its classes, by name."""
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value):
            for kind in value.__mro__:
                members = vars(kind).items() if kind.__module__.startswith("bayesgmm") else ()
                kinds = (property, cached_property, staticmethod, classmethod)
                yield from (
                    (f"{name}.{own}", member)
                    for own, member in members
                    if not own.startswith("_") and (inspect.isfunction(member) or isinstance(member, kinds))
                )


def is_guarded(door):
    """Whether underflow is zero in a function, or behind a property."""
    inner = door.fget if isinstance(door, property) else door.func if isinstance(door, cached_property) else door
    return hasattr(getattr(inner, "__func__", inner), _MARK)


@pytest.mark.parametrize("module", PUBLIC)
def test_underflow_is_zero_behind_every_public_door(module):
    found = dict(doors(import_module(f"bayesgmm.{module}")))
    assert found
    assert [name for name, door in found.items() if not is_guarded(door)] == []


def test_a_guard_is_for_underflow_alone_and_leaves_the_callers_settings():
    def compute(x):
        return np.exp(x)

    def steps(x):
        yield np.exp(x)

    names = {"__all__": ["compute", "steps"], "compute": compute, "steps": steps}
    guard(names)
    tiny, huge = np.array([-1e4]), np.array([1e4])
    with np.errstate(all="raise"):
        assert names["compute"](tiny) == 0
        for each in names["steps"](tiny):
            with pytest.raises(FloatingPointError, match="underflow"):
                np.exp(tiny)
            assert each == 0
        with pytest.raises(FloatingPointError, match="overflow"):
            names["compute"](huge)
        with pytest.raises(FloatingPointError, match="underflow"):
            np.exp(tiny)


def test_fits_and_what_is_asked_of_them_are_the_same_when_numpy_raises(em_faithful, posterior_faithful, faithful):
    far = np.array([[500.0, 5000.0], [3.0, 70.0]])
    rows = faithful.to_numpy()
    bare = em_faithful.params_

    def all_of_it():
        yield em_faithful.params_.responsibilities(far)
        yield bg.GaussianMixture(3, random_state=1).fit(rows).means_
        yield bg.GaussianMixture(2, noise=True, random_state=1).fit(rows).means_
        yield bg.GaussianMixture(2, priors=bg.Priors(), random_state=1).fit(rows).means_
        yield bg.GaussianMixture(2, random_state=1).fit(rows).standard_errors().means.values
        yield posterior_faithful.row_summary(faithful.iloc[:20]).entropy.values
        yield posterior_faithful.params_[0, :50].responsibilities(far)
        yield bg.compare(em_faithful, posterior_faithful, n_replicates=20).mean_responsibilities
        yield bg.partitions.occupied_components(posterior_faithful).to_numpy()
        yield bg.select(rows, [1, 2], "full", random_state=1, progressbar=False).table["icl"].to_numpy()
        yield bg.merge_components(em_faithful, faithful).entropy.to_numpy()
        yield bare.marginal([0]).ppf([1e-12, 0.5])
        yield bare.modes()[0] if isinstance(bare.modes(), tuple) else np.array(len(bare.modes()))
        yield bg.priors.HalfNormal(1.0).slope(np.array([1e-300, 1.0, 50.0]))

    quiet = list(all_of_it())
    with np.errstate(all="raise"):
        loud = list(all_of_it())
    for one, other in zip(quiet, loud, strict=True):
        np.testing.assert_array_equal(one, other)


# Consoles that know only ASCII

TYPOGRAPHY = {"plots", "report"}
"""Where strings are drawn or go into pages, which have all characters."""
PRINTED_THERE = ("report/report.py", "report/provenance.py", "report/answers.py")


UNDERSTOOD = {"tables/delimited.py": ("_MISSING", "_MINUS"), "files.py": ("_letter",)}
"""Constants and functions of what people write into tables and names of files, which is looked for or handed on, and said by nobody."""


def is_understood(node, names):
    """Whether the strings of a statement or expression are looked for in text: patterns, comparisons, and what has one of these names."""
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id in names for target in node.targets)
    pattern = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "compile"
    return pattern or isinstance(node, ast.Compare) or (isinstance(node, ast.FunctionDef) and node.name in names)


def strings(source, understood=()):
    """Text and line of every string of a module that is no docstring and is not only looked for."""
    tree = ast.parse(source)
    skipped = {
        id(statement.value)
        for node in ast.walk(tree)
        for statement in (node.body if isinstance(getattr(node, "body", None), list) else ())
        if isinstance(statement, ast.Expr)
    }
    skipped |= {id(inner) for node in ast.walk(tree) if is_understood(node, understood) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.lineno, node.value


def test_the_walk_sees_strings_and_passes_over_docstrings():
    source = '"""Ä."""\nx = "a"\ndef f():\n    """Ö."""\n    return f"{x} − ü"\n'
    assert [text for _, text in strings(source) if not text.isascii()] == [" − ü"]


def test_the_walk_passes_over_what_is_looked_for_and_nothing_else():
    source = 'import re\nMINUS = "−"\nOTHER = "–"\nP = re.compile("’")\nx = f(y == "é", "è")\n'
    assert [text for _, text in strings(source, ("MINUS",)) if not text.isascii()] == ["–", "è"]


def test_no_sentence_has_a_character_that_a_console_may_lack():
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        inside = path.relative_to(ROOT)
        if inside.parts[0] in TYPOGRAPHY and inside.as_posix() not in PRINTED_THERE:
            continue
        spoken = strings(path.read_text("utf-8"), UNDERSTOOD.get(inside.as_posix(), ()))
        found += [f"{inside}:{line} {text!a}" for line, text in spoken if not text.isascii()]
        if inside.parts[0] == "cli":  # docstrings are the help of its commands
            found += [str(inside)] * (not path.read_text("utf-8").isascii())
    assert found == []


def test_all_that_is_printed_goes_to_an_ascii_console(em_faithful, posterior_faithful, faithful, undrawn):
    posterior = posterior_faithful
    selection = bg.select(faithful, [1, 2, 3], "full", random_state=1, progressbar=False)
    texts = {
        "compare": bg.compare(em_faithful, posterior, n_replicates=20),
        "select": selection,
        "message": em_faithful.message_,
        "checks": "\n".join(map(str, posterior.diagnose())),
        "report": "\n".join(bg.report.build_report(em_faithful, posterior, name="faithful", selection=selection).headline),
        "abstain": bg.partitions.abstain(posterior.row_summary(), 0.8),
        "partition": bg.partitions.wasserstein_summary(
            posterior.params_[:, ::50].responsibilities(faithful).argmax(-1).reshape(-1, 272)
        ),
        "test": bg.bootstrap_lrt(faithful.to_numpy()[:, :1], 1, n_replicates=9, random_state=1),
        "merge": bg.merge_components(em_faithful, faithful),
        "loo": bg.criticism.loo(posterior),
        "priors": repr(bg.Priors()) + repr(posterior.priors_),
        "fits": repr(em_faithful) + repr(posterior) + repr(em_faithful.params_),
    }
    for name, text in texts.items():
        console = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
        print(text, file=console, flush=True)
        assert console.buffer.getvalue().strip(), name
        assert "\t" not in str(text)


# scikit-learn's settings


@pytest.mark.parametrize("method", ["auto", "kmeans", "k-means++", "random", "random_from_data", "hierarchical"])
@pytest.mark.parametrize("kind", KINDS)
def test_without_iterations_a_fit_is_its_start(method, kind, faithful):
    means = [[2.0, 50.0], [4.0, 90.0]]
    em = bg.GaussianMixture(2, covariance_type=kind, init_params=method, means_init=means, max_iter=0, random_state=0).fit(faithful)
    np.testing.assert_array_equal(em.means_, means)
    assert (em.n_iter_, em.converged_, len(em.lower_bounds_)) == (0, False, 0)
    assert em.message_ == "max_iter=0: this is where EM would have started"
    free = bg.GaussianMixture(2, covariance_type=kind, init_params=method, max_iter=0, random_state=0).fit(faithful)
    assert not np.allclose(*free.means_)
    assert free.lower_bound_ == pytest.approx(free.score(faithful))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        on = bg.GaussianMixture(2, covariance_type=kind, init_params=free, max_iter=5, n_init=1).fit(faithful)
    assert on.lower_bounds_[0] == pytest.approx(free.lower_bound_)
