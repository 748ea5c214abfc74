"""The verdict names failures that were planted by hand, and says of sound draws that they are sound."""

import copy
import warnings

import numpy as np
import pytest
import xarray as xr

import bayesgmm as bg
from bayesgmm.diagnostics import convergence_table, diagnose, label_free, sampler_table
from bayesgmm.diagnostics import verdict as checks_of
from bayesgmm.diagnostics.chains import find_modes, find_switching
from bayesgmm.exceptions import ConvergenceWarning, DrawsAdvice, InvalidDataError, InvalidParameterError
from bayesgmm.params import MixtureParams

CHAINS, DRAWS, N = 4, 400, 60
WEIGHTS, MEANS = np.array([0.5, 0.3, 0.2]), np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])


def draws_about(rng, weights=WEIGHTS, means=MEANS, chains=CHAINS, sds=1.0):
    """Independent draws of a mixture about given parameters, batch shape (chain, draw)."""
    shape, K = (chains, DRAWS), len(weights)
    w = rng.dirichlet(300 * np.asarray(weights), size=shape)
    m = means + 0.1 * rng.normal(size=(*shape, K, 2))
    s = sds * np.exp(0.05 * rng.normal(size=(*shape, K, 2)))
    return MixtureParams(w, m, s[..., None] * np.eye(2))


def in_chain(params, chain, other):
    """The same draws with those of one chain put in place of another's."""
    arrays = [np.array(a) for a in (params.weights, params.means, params.scale_tril)]
    for array, new in zip(arrays, (other.weights, other.means, other.scale_tril), strict=True):
        array[chain] = new[0]
    return MixtureParams(*arrays)


@pytest.fixture
def X(rng):
    one = MixtureParams(WEIGHTS, MEANS, np.broadcast_to(np.eye(2), (3, 2, 2)))
    return one.sample(N, random_state=rng)[0]


def parameters(params):
    dims = {"weights": (), "means": ("feature",), "sds": ("feature",), "covariances": ("feature", "feature_bis")}
    names = ["a", "b"]
    return xr.Dataset(
        {name: (("chain", "draw", "component", *more), getattr(params, name)) for name, more in dims.items()},
        coords={"chain": np.arange(params.batch_shape[0]), "feature": names, "feature_bis": names},
    )


def tree(X, params, raw=None):
    """The groups of a posterior that the verdict reads; log-likelihood and all come through the one E-step."""
    groups = {
        "posterior": parameters(params),
        "unlabelled_posterior": parameters(params if raw is None else raw),
        "label_free": label_free(params, X, features=["a", "b"]),
        "observed_data": xr.Dataset({"x": (("obs", "feature"), X)}),
    }
    return xr.DataTree.from_dict(groups)


def verdict(datatree):
    return diagnose(datatree)[0]


def test_sound_draws_have_converged(X, rng):
    checks = diagnose(tree(X, draws_about(rng)))
    assert checks[0].sentence.startswith("Converged: ")
    assert [check.sentence for check in checks if not check.passed] == []
    assert str(checks[0]) == checks[0].sentence
    assert {"mcse", "label_switching", "empty_components"} <= {check.name for check in checks}


def test_permuted_chains_have_converged_up_to_labels(X, rng):
    params = draws_about(rng)
    order = np.broadcast_to(np.arange(3), (CHAINS, DRAWS, 3)).copy()
    order[1] = [2, 0, 1]
    found = tree(X, params, params.permute(order))
    assert verdict(found).passed
    assert verdict(found).sentence.startswith("Converged up to labels: ")
    assert find_switching(found).between
    assert find_switching(found).within == []


def test_switching_within_chains_is_named_with_its_chains(X, rng):
    params = draws_about(rng)
    order = np.broadcast_to(np.arange(3), (CHAINS, DRAWS, 3)).copy()
    order[2, 100:300] = [1, 0, 2]
    order[3, ::4] = [0, 2, 1]
    found = tree(X, params, params.permute(order))
    assert verdict(found).passed
    assert verdict(found).sentence.startswith("Switching within chains: ")
    assert "chains 2 and 3" in verdict(found).sentence
    assert find_switching(found).shares == {"0": 0, "1": 0, "2": 0.5, "3": 0.25}


def test_all_chains_switching_alike_is_named_although_raw_r_hat_is_fine(X, rng):
    params = draws_about(rng)
    order = rng.permuted(np.broadcast_to(np.arange(3), (CHAINS, DRAWS, 3)), axis=-1)
    found = tree(X, params, params.permute(order))
    assert verdict(found).sentence.startswith("Switching within chains: ")
    raw = next(check for check in diagnose(found) if check.name == "r_hat_raw")
    assert raw.value < 1.02


def test_switching_that_was_not_undone_fails(X, rng):
    params = draws_about(rng, [0.4, 0.3, 0.3], MEANS)
    wrong = np.broadcast_to(np.arange(3), (CHAINS, DRAWS, 3)).copy()
    wrong[2] = [0, 2, 1]
    raw = np.broadcast_to(np.arange(3), (CHAINS, DRAWS, 3)).copy()
    raw[2, ::2] = [0, 2, 1]
    found = tree(X, params.permute(wrong), params.permute(raw))
    assert not verdict(found).passed
    assert verdict(found).sentence.startswith("Switching within chains: ")
    assert "cannot be told apart" in verdict(found).sentence


MERGED = ([0.8, 0.1, 0.1], np.array([[3.0, 0.0], [0.0, 7.5], [0.0, 8.5]]), np.array([[4.0, 1.0], [1.0, 1.0], [1.0, 1.0]]))


def test_two_modes_are_told_apart_in_words(X, rng):
    other = draws_about(rng, *MERGED[:2], chains=1, sds=MERGED[2])
    found = tree(X, in_chain(draws_about(rng), 2, other))
    check = verdict(found)
    assert not check.passed
    assert check.sentence.startswith("Different modes: ")
    assert find_modes(found).chains == (("0", "1", "3"), ("2",))
    assert "In chain 2, compared with chains 0, 1 and 3, groups 0 and 1 are merged into one (there group 0)" in check.sentence
    assert "group 2 is split into two or more (there groups 1 and 2)" in check.sentence


def test_modes_are_told_apart_without_the_data(X, rng):
    other = draws_about(rng, *MERGED[:2], chains=1, sds=MERGED[2])
    found = tree(X, in_chain(draws_about(rng), 2, other))
    del found["observed_data"]
    assert "groups 0 and 1 are merged" in verdict(found).sentence


def test_a_group_that_moved_is_said_to_have_moved(X, rng):
    other = draws_about(rng, means=MEANS + np.array([[0, 0], [0, 0], [0.0, 2.0]]), chains=1)
    check = verdict(tree(X, in_chain(draws_about(rng), 0, other)))
    assert check.sentence.startswith("Different modes: ")
    assert "In chain 0, compared with chains 1, 2 and 3, group 2 moved elsewhere." in check.sentence


def test_a_chain_that_lost_a_component_is_another_mode(X, rng):
    other = draws_about(rng, [0.795, 0.2, 0.005], np.array([[3.0, 0.0], [0.0, 8.0], [30.0, 30.0]]), chains=1)
    check = verdict(tree(X, in_chain(draws_about(rng), 3, other)))
    assert check.sentence.startswith("Different modes: ")
    assert "group 2 is empty there" in check.sentence


def test_a_component_that_empties_in_every_chain_is_said_beside_the_verdict(X, rng):
    weights = [0.695, 0.3, 0.005]
    found = tree(X, draws_about(rng, weights))
    check = verdict(found)
    assert check.passed
    assert check.sentence.startswith("Converged: ")
    assert "A component is empty in" in check.sentence
    share = next(check.value for check in diagnose(found) if check.name == "empty_components")
    assert share == ((found["posterior"]["weights"].values * N).min(-1) < 1).mean()


def test_a_stuck_chain_is_named(X, rng):
    params = draws_about(rng)
    still = MixtureParams(*(np.repeat(a[1:2, :1], DRAWS, axis=1) for a in (params.weights, params.means, params.scale_tril)))
    check = verdict(tree(X, in_chain(params, 1, still)))
    assert not check.passed
    assert check.sentence.startswith("Not converged: chain 1 did not move")


def test_one_chain_cannot_be_judged(X, rng):
    check = verdict(tree(X, draws_about(rng, chains=1)))
    assert not check.passed
    assert check.sentence.startswith("Convergence cannot be judged: ")


def test_chains_that_wander_have_not_converged(X, rng):
    params = draws_about(rng)
    drift = np.cumsum(rng.normal(scale=0.08, size=(CHAINS, DRAWS, 1, 1)), axis=1)
    check = verdict(tree(X, MixtureParams(params.weights, params.means + drift, params.scale_tril)))
    assert not check.passed
    assert check.sentence.startswith(("Not converged: ", "Different modes: "))


def slow(rng, ess, shape=(CHAINS, DRAWS)):
    """Standard normal draws with the autocorrelations of an AR(1) process that makes them worth so many in all."""
    ratio = ess / np.prod(shape)
    rho = (1 - ratio) / (1 + ratio)
    noise = np.sqrt(1 - rho**2) * rng.normal(size=shape)
    out = np.empty(shape)
    out[:, 0] = rng.normal(size=shape[0])
    for t in range(1, shape[1]):
        out[:, t] = rho * out[:, t - 1] + noise[:, t]
    return out


def moving_slowly(rng, ess, sd=0.1):
    """Draws whose first mean moves slowly, the rest independently."""
    params = draws_about(rng)
    means = params.means.copy()
    means[..., 0, 0] = sd * slow(rng, ess)
    return MixtureParams(params.weights, means, params.scale_tril)


@pytest.mark.parametrize(("ess", "outcome"), [(1600, "Converged: "), (330, "Converged, with care: "), (60, "Not converged: ")])
def test_how_much_chains_are_worth_decides_between_yes_with_care_and_no(X, ess, outcome):
    """Of ten sets of chains each; one or two may be on the other side of a threshold by chance."""
    found = [verdict(tree(X, moving_slowly(np.random.default_rng(seed), ess))) for seed in range(10)]
    assert sum(check.sentence.startswith(outcome) for check in found) >= 8
    for check in found:
        assert check.passed == check.sentence.startswith("Converged")
        assert check.with_care == check.sentence.startswith("Converged, with care: ")


def test_care_says_what_is_rough_and_by_how_much_and_what_would_settle_it(X):
    found = next(
        found for seed in range(10) if verdict(found := tree(X, moving_slowly(np.random.default_rng(seed), 330))).with_care
    )
    sentence = verdict(found).sentence
    assert "the mean of a in group 0" in sentence
    failed = [one for one in diagnose(found)[1:] if not one.passed]
    assert failed
    assert all(one.name.startswith(("r_hat", "ess")) for one in failed)
    # The error said is the standard error of that mean, which independent sets of such chains show.
    means = [moving_slowly(np.random.default_rng(100 + seed), 330).means[..., 0, 0].mean() for seed in range(200)]
    said = float(sentence.partition("Means are good to ")[2].split()[0])
    assert 0.7 < said / (np.std(means) / 0.1) < 2
    draws = int(sentence.partition("draws=")[2].split()[0])
    assert DRAWS < draws <= 2000
    longer = xr.Dataset(
        {"log_likelihood": (("chain", "draw"), slow(np.random.default_rng(1), 330 * draws / DRAWS, (CHAINS, draws)))}
    )
    assert verdict(xr.DataTree.from_dict({"label_free": longer})).sentence.startswith("Converged: ")


@pytest.mark.parametrize("shift", [1.0, 2.0, 4.0, 20.0])
@pytest.mark.parametrize("ess", [330, 1600])
def test_care_is_never_given_to_chains_in_different_places(X, ess, shift):
    for seed in range(5):
        params = moving_slowly(np.random.default_rng(seed), ess)
        means = params.means.copy()
        means[2, :, 0, 0] += shift * 0.1
        assert not verdict(tree(X, MixtureParams(params.weights, means, params.scale_tril))).passed


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3, 0.6])
@pytest.mark.parametrize("visits", [1, 2])
def test_care_is_never_given_to_a_mode_that_was_visited_once_or_twice(X, rng, share, visits):
    params, other = draws_about(rng), draws_about(rng, *MERGED[:2], sds=MERGED[2])
    arrays = [np.array(array) for array in (params.weights, params.means, params.scale_tril)]
    for visit in range(visits):
        first = int(rng.integers(0, DRAWS * (1 - share)))
        stay = slice(first, first + int(share * DRAWS))
        for array, there in zip(arrays, (other.weights, other.means, other.scale_tril), strict=True):
            array[2 * visit, stay] = there[2 * visit, stay]
    assert not verdict(tree(X, MixtureParams(*arrays))).passed


def test_care_needs_the_draws_themselves(X):
    """From tables alone it cannot be told whether chains are of one mode."""
    found = next(
        found for seed in range(10) if verdict(found := tree(X, moving_slowly(np.random.default_rng(seed), 330))).with_care
    )
    tables = convergence_table(found), sampler_table(found)
    assert checks_of(*tables, CHAINS, found)[0].passed
    assert not checks_of(*tables, CHAINS)[0].passed


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_a_failure(X, rng, value):
    found = tree(X, draws_about(rng))
    found["label_free"]["log_likelihood"][0, 5] = value
    check = verdict(found)
    assert not check.passed
    assert check.sentence.startswith("Not converged: ")


def test_verdict_does_not_depend_on_the_order_of_chains_or_components(X, rng):
    other = draws_about(rng, *MERGED[:2], chains=1, sds=MERGED[2])
    params = in_chain(draws_about(rng), 2, other)
    turned = MixtureParams(*(a[::-1] for a in (params.weights, params.means, params.scale_tril)))
    assert find_modes(tree(X, turned)).chains == (("0", "2", "3"), ("1",))
    assert find_modes(tree(X, params.permute([2, 0, 1]))).chains == find_modes(tree(X, params)).chains


def test_label_free_quantities_are_label_free_and_those_of_their_definitions(X, rng):
    params = draws_about(rng, chains=2)
    free = label_free(params, X, lp=np.zeros(params.batch_shape))
    order = rng.permuted(np.broadcast_to(np.arange(3), (2, DRAWS, 3)), axis=-1)
    xr.testing.assert_allclose(free, label_free(params.permute(order), X, lp=np.zeros(params.batch_shape)), rtol=1e-9)
    np.testing.assert_allclose(free["log_likelihood"], params.log_density(X).sum(-1))
    np.testing.assert_allclose(free["log_prior"], -params.log_density(X).sum(-1))
    rows = free["point"].values
    np.testing.assert_allclose(free["log_density"], params.log_density(X)[..., rows])
    r = params.responsibilities(X)
    np.testing.assert_allclose(free["co_clustering"], (r[..., rows[:-1], :] * r[..., rows[1:], :]).sum(-1), atol=1e-12)
    np.testing.assert_allclose(free["entropy"], -(r * np.log(np.maximum(r, 1e-300))).sum(-1).mean(-1), atol=1e-9)


def test_total_moments_are_those_of_rows_drawn_from_the_mixture(rng):
    params = draws_about(rng, chains=1)[:, :1]
    free = label_free(params, np.zeros((5, 2)))
    sample = params.sample(200_000, random_state=rng)[0][0, 0]
    np.testing.assert_allclose(free["total_mean"][0, 0], sample.mean(0), atol=0.05)
    np.testing.assert_allclose(free["total_covariance"][0, 0], np.cov(sample.T), rtol=0.03)
    np.testing.assert_allclose(free["total_sd"][0, 0], sample.std(0), rtol=0.02)


def test_points_are_rows_with_values_where_there_are_gaps(X, rng):
    gaps = X.copy()
    gaps[:30, 0] = np.nan
    gaps[0] = np.nan
    free = label_free(draws_about(rng, chains=1), gaps)
    assert not np.isnan(gaps[free["point"].values]).any()
    assert np.isfinite(free["log_density"]).all()


def test_what_cannot_be_used_is_refused(X, rng):
    params = draws_about(rng, chains=1)
    with pytest.raises(InvalidDataError, match="shape"):
        label_free(params, X[:, :1])
    with pytest.raises(InvalidDataError, match="no value"):
        label_free(params, np.full((3, 2), np.nan))
    with pytest.raises(InvalidParameterError, match="n_points"):
        label_free(params, X, n_points=1)
    with pytest.raises(InvalidParameterError, match="chain, draw"):
        label_free(params[0], X)


def test_r_hat_is_the_greater_of_the_two(X, rng):
    table = convergence_table(tree(X, draws_about(rng)))
    np.testing.assert_array_equal(table["r_hat"], table[["r_hat_bulk", "r_hat_folded"]].max(axis=1))
    wide = xr.Dataset({"log_likelihood": (("chain", "draw"), rng.normal(size=(4, 400)) * [[1], [1], [1], [4]])})
    row = convergence_table(xr.DataTree.from_dict({"label_free": wide})).iloc[0]
    assert row["r_hat_bulk"] < 1.02 < row["r_hat_folded"]


def test_a_fit_warns_once_with_its_verdict_and_returns_all_checks(faithful):
    model = bg.BayesianGaussianMixture(2, draws=20, tune=50, chains=2, random_state=1, progressbar=False)
    with pytest.warns(ConvergenceWarning) as caught:
        model.fit(faithful)
    assert len(caught) == 1
    assert model.diagnose()[0].sentence in str(caught[0].message)
    assert caught[0].filename == __file__


def test_a_fit_whose_draws_are_rough_says_how_many_would_settle_it(faithful):
    """Few draws are worth too little; which seed has enough for care is found by trying."""
    for seed in range(20):
        model = bg.BayesianGaussianMixture(2, draws=110, tune=200, random_state=seed, progressbar=False)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(faithful)
        check = model.diagnose()[0]
        categories = {True: [DrawsAdvice], False: [] if check.passed else [ConvergenceWarning]}[check.with_care]
        assert [one.category for one in caught] == categories
        assert all(check.sentence in str(one.message) and one.filename == __file__ for one in caught)
        if check.with_care:
            assert "draws=" in check.sentence
            return
    pytest.fail("no seed had draws to be used with care")


def test_a_sound_fit_has_converged_with_all_quantities(posterior_faithful):
    checks = posterior_faithful.diagnose()
    assert [check.sentence for check in checks if not check.passed] == []
    assert checks[0].sentence.startswith("Converged: ")
    free = posterior_faithful.datatree_["label_free"]
    lp = posterior_faithful.datatree_["sample_stats"]["lp"]
    np.testing.assert_allclose(free["log_prior"] + free["log_likelihood"], lp)
    stuck = copy.deepcopy(posterior_faithful.datatree_)
    stuck["label_free"]["log_density"][1] += 30
    assert verdict(stuck).sentence.startswith("Different modes: ")
