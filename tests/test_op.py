"""The likelihood Ops: the kernel's values, gradients by other routes, one E-step in a compiled graph."""

import subprocess
import sys

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import NullTypeGradError
from pytensor.link.numba.dispatch.basic import numba_funcify_and_cache_key

from bayesgmm.bayes import op as op_module
from bayesgmm.bayes.op import MixtureLogDensity, MixtureLogLikelihood, mixture_log_density, mixture_log_likelihood
from tests.conftest import random_mixture, scipy_log_joint, scipy_log_likelihood

K, D, N = 3, 2, 9
OURS = (MixtureLogDensity, MixtureLogLikelihood)


@pytest.fixture(autouse=True, scope="module")
def interpreted():
    """Run graphs node by node in Python: compiling them takes longer than everything else here."""
    with pytensor.config.change_flags(mode="FAST_COMPILE", cxx=""):
        yield


@pytest.fixture(params=[False, True], ids=["full", "diagonal"])
def diagonal(request):
    return request.param


@pytest.fixture
def mixture(rng, diagonal):
    return random_mixture(rng, K, D, covariance_type="diag" if diagonal else "full")


@pytest.fixture
def X(rng):
    return 2 * rng.normal(size=(N, D))


def symbols():
    return [pt.dvector("log_weights"), pt.dmatrix("means"), pt.dtensor3("scale_tril"), pt.dmatrix("X")]


def arrays(mixture):
    return [mixture.log_weights, mixture.means, mixture.scale_tril]


def our_nodes(function):
    return [node for node in function.maker.fgraph.toposort() if isinstance(node.op, OURS)]


def value_and_gradient(density, mode=None):
    """What a sampler calls: value and gradient of a sum of row-wise log-densities, as PyMC builds it."""
    inputs = symbols()
    value = density(*inputs).sum()
    return pytensor.function(inputs, [value, *pt.grad(value, inputs[:3])], mode=mode)


def ours(diagonal):
    return lambda *inputs: mixture_log_density(*inputs, diagonal=diagonal)


def textbook(log_weights, means, scale_tril, X):
    """The mixture by PyMC's own distributions and PyTensor's own derivatives."""
    components = pm.MvNormal.dist(mu=means, chol=scale_tril)
    return pm.logp(pm.Mixture.dist(w=pt.exp(log_weights), comp_dists=components, shape=(N, D)), X)


def test_values_equal_scipy(mixture, X, diagonal):
    density = mixture_log_density(*arrays(mixture), X, diagonal=diagonal).eval()
    np.testing.assert_allclose(density, np.logaddexp.reduce(scipy_log_joint(X, mixture), axis=1), rtol=1e-12)
    total = mixture_log_likelihood(*arrays(mixture), X, diagonal=diagonal).eval()
    assert total == pytest.approx(scipy_log_likelihood(X, mixture), rel=1e-12)


def test_gradients_are_slopes(mixture, X, diagonal):
    function = value_and_gradient(ours(diagonal))
    values = [*arrays(mixture), X]
    _, *gradients = function(*values)
    step = 1e-6
    for position, gradient in enumerate(gradients):
        for index in np.ndindex(gradient.shape):
            shift = np.zeros_like(gradient)
            shift[index] = step
            high, low = (function(*_changed(values, position, sign * shift))[0] for sign in (1, -1))
            assert gradient[index] == pytest.approx((high - low) / (2 * step), rel=1e-6, abs=1e-6)


def _changed(values, position, shift):
    return [value + shift if i == position else value for i, value in enumerate(values)]


def test_gradients_equal_pymcs_by_automatic_differentiation(rng, X):
    values = [*arrays(random_mixture(rng, K, D)), X]
    value, *gradients = value_and_gradient(ours(False))(*values)
    other, *others = value_and_gradient(textbook)(*values)
    assert value == pytest.approx(other, rel=1e-12)
    # PyMC does not normalise exp(log_weights): its gradient in log weights is comparable as it is.
    for mine, theirs in zip(gradients, [*others[:2], np.tril(others[2])], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-11)


def test_row_weights_are_repeats(mixture, X, diagonal, rng):
    counts = rng.integers(0, 4, size=N)
    weighted = [v.eval() for v in MixtureLogLikelihood(diagonal)(*arrays(mixture), X, counts.astype(float))]
    repeated = [v.eval() for v in MixtureLogLikelihood(diagonal)(*arrays(mixture), np.repeat(X, counts, 0), np.empty(0))]
    for a, b in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mode", ["FAST_COMPILE", "NUMBA"])
def test_value_and_gradient_share_one_pass(mode, diagonal):
    (node,) = our_nodes(value_and_gradient(ours(diagonal), mode))
    assert node.op == MixtureLogLikelihood(diagonal)
    assert node.inputs[-1].type.shape == (0,)


def test_tempered_likelihood_costs_one_pass(mixture, X, diagonal):
    inputs, temperature = symbols(), pt.dscalar()
    value = temperature * mixture_log_density(*inputs, diagonal=diagonal).sum() / 3.0
    function = pytensor.function([*inputs, temperature], [value, *pt.grad(value, inputs[:3])])
    assert len(our_nodes(function)) == 1
    plain = value_and_gradient(ours(diagonal))(*arrays(mixture), X)
    for tempered, whole in zip(function(*arrays(mixture), X, 1.5), plain, strict=True):
        np.testing.assert_allclose(tempered, 0.5 * whole, rtol=1e-12, atol=1e-12)


def test_rows_with_weights_of_their_own_keep_them(mixture, X, diagonal, rng):
    """A sum that is not plain keeps its row-wise node, and the gradient its weights."""
    weight = rng.uniform(size=N)
    inputs = symbols()
    value = (weight * mixture_log_density(*inputs, diagonal=diagonal)).sum()
    function = pytensor.function(inputs, [value, *pt.grad(value, inputs[:3])])
    assert [type(node.op) for node in our_nodes(function)].count(MixtureLogDensity) == 1
    direct = [v.eval() for v in MixtureLogLikelihood(diagonal)(*arrays(mixture), X, weight)]
    for a, b in zip(function(*arrays(mixture), X), direct, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_second_derivatives_are_refused():
    inputs = symbols()
    gradient = pt.grad(mixture_log_density(*inputs).sum(), inputs[1])
    with pytest.raises(NotImplementedError, match="no second derivatives"):
        pt.grad(gradient.sum(), inputs[1])


@pytest.mark.parametrize("function", [mixture_log_density, mixture_log_likelihood])
def test_gradient_in_the_data_is_refused_not_wrong(function):
    inputs = symbols()
    with pytest.raises(NullTypeGradError, match="not implemented"):
        pt.grad(function(*inputs).sum(), inputs[3])


def test_wrong_number_of_dimensions_is_named():
    with pytest.raises(ValueError, match="means must have 2 dimensions"):
        mixture_log_density(np.zeros(1), np.zeros(1), np.ones((1, 1, 1)), np.zeros((4, 1)))


def test_shapes_are_known_without_an_e_step():
    inputs = symbols()
    function = pytensor.function(inputs, mixture_log_density(*inputs).shape, on_unused_input="ignore")
    assert our_nodes(function) == []


def test_a_batch_of_mixtures(rng, X):
    """``vectorize_graph`` turns the node into a batch of nodes, as for any Op of PyTensor."""
    batch = random_mixture(rng, K, D, batch=(4,))
    inputs = symbols()
    density = mixture_log_density(*inputs)
    values = [pt.constant(value) for value in (*arrays(batch), X)]
    whole = pytensor.graph.vectorize_graph(density, dict(zip(inputs, values, strict=True)))
    np.testing.assert_allclose(whole.eval(), batch.log_density(X), rtol=1e-12)


def test_numba_equals_python(mixture, X, diagonal, rng):
    inputs, weight = symbols(), pt.dvector()
    rows = mixture_log_density(*inputs, diagonal=diagonal)
    likelihood = MixtureLogLikelihood(diagonal)(*inputs, weight)
    values = [*arrays(mixture), np.asfortranarray(X), rng.uniform(size=N)]
    compiled, python = (
        pytensor.function([*inputs, weight], [rows, *likelihood], mode=mode)(*values) for mode in ("NUMBA", "FAST_COMPILE")
    )
    for a, b in zip(compiled, python, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("op_type", OURS)
def test_numba_caches_on_disk_until_a_kernel_changes(op_type, monkeypatch):
    """A key means that numba keeps the compiled node on disk; the kernels linked into it belong to the key."""

    def key(diagonal=False):
        inputs = [*symbols(), pt.dvector()][: 4 + (op_type is MixtureLogLikelihood)]
        node = op_type(diagonal)(*inputs)
        node = (node[0] if isinstance(node, list) else node).owner
        return numba_funcify_and_cache_key(node.op, node=node)[1]

    before = key()
    assert before is not None
    assert key() == before
    assert key(diagonal=True) != before
    monkeypatch.setattr(op_module, "_kernel_version", lambda: 1)
    assert key() != before


def test_importing_the_ops_does_not_load_jax():
    pytest.importorskip("jax", reason="JAX is not installed: pip install bayesgmm[jax]")
    code = "import sys, bayesgmm.bayes.model; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0


def test_jax_equals_the_kernel(mixture, X, diagonal):
    pytest.importorskip("jax", reason="JAX is not installed: pip install bayesgmm[jax]")
    values = [*arrays(mixture), X]
    function = value_and_gradient(ours(diagonal), "JAX")
    assert len(our_nodes(function)) == 1
    for a, b in zip(function(*values), value_and_gradient(ours(diagonal))(*values), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
    inputs, weight = symbols(), np.arange(1.0, N + 1)
    outputs = [mixture_log_density(*inputs, diagonal=diagonal), *MixtureLogLikelihood(diagonal)(*inputs, weight)]
    by_jax, python = (pytensor.function(inputs, outputs, mode=mode)(*values) for mode in ("JAX", "FAST_COMPILE"))
    for a, b in zip(by_jax, python, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
