"""The marginal likelihood of a mixture as PyTensor Ops over the package's one E-step.

``MixtureLogDensity`` gives the log-density of each row, which is what PyMC asks for and what pointwise log-likelihoods
need. ``MixtureLogLikelihood`` gives the sum over rows and all its gradients in one pass. The first's pullback is the
second, and a graph rewrite turns a sum of the first into the second: value and gradient of a model then share a single
E-step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile import optdb
from pytensor.gradient import DisconnectedType, grad_not_implemented
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import GraphRewriter, node_rewriter
from pytensor.link.numba.dispatch import basic as numba_dispatch
from pytensor.scalar.basic import Second
from pytensor.tensor.basic import Alloc, get_underlying_scalar_constant_value
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.exceptions import NotScalarConstantError
from pytensor.tensor.math import Sum
from pytensor.tensor.rewriting.basic import register_canonicalize, register_specialize
from pytensor.tensor.variable import TensorVariable

from bayesgmm.expectation import densities_of_table, evaluate, expectation, score, statistics_of_table
from bayesgmm.kernels import estep
from bayesgmm.kernels import known as known_kernel
from bayesgmm.kernels import score as score_kernel
from bayesgmm.kernels.compile import source_stamp
from bayesgmm.kernels.known import N_LINKS
from bayesgmm.rows import Chunk, MemoryRows

__all__ = ["MixtureLogDensity", "MixtureLogLikelihood", "jax_log_density", "mixture_log_density", "mixture_log_likelihood"]

_NDIMS = {"log_weights": 1, "means": 2, "scale_tril": 3, "X": 2, "row_weight": 1}


class MixtureLogDensity(Op):
    """Log-densities (N,) of rows X (N, D), from log weights (K,), means (K, D) and lower Cholesky factors (K, D, D).

    Parameters
    ----------
    diagonal : bool
        Whether to take everything off the factors' diagonals for zero: the work then grows with D, not with its square.
    known : bool
        Whether X is a table (N, D + M) of values and what else is known of the rows (:mod:`bayesgmm.kernels.known`). The log-density of
        rows that belong together is shared out evenly among them.
    """

    __props__ = ("diagonal", "known")

    def __init__(self, diagonal: bool = False, known: bool = False) -> None:
        self.diagonal, self.known = bool(diagonal), bool(known)

    @property
    def gufunc_signature(self) -> str:
        """Core dims of inputs and output."""
        return f"(k),(k,d),(k,d,d),(n,{'m' if self.known else 'd'})->(n)"

    def make_node(self, log_weights: Any, means: Any, scale_tril: Any, X: Any) -> Apply:
        """Return the node of checked, float64 inputs."""
        inputs = _tensors(log_weights=log_weights, means=means, scale_tril=scale_tril, X=X)
        return Apply(self, inputs, [pt.tensor(dtype="float64", shape=(inputs[3].type.shape[0],))])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the shape of the output without computing it."""
        return [(shapes[3][0],)]

    def perform(self, node: Apply, inputs: list[Any], outputs: list[Any]) -> None:
        """Evaluate in Python, with the kernel's threads."""
        log_weights, means, scale_tril, X = map(np.ascontiguousarray, inputs)
        if self.known:
            outputs[0][0] = densities_of_table(X, log_weights, means, scale_tril, diagonal=self.diagonal)
            return
        outputs[0][0] = evaluate(Chunk(X), log_weights, means, scale_tril, diagonal=self.diagonal)[1]

    def pullback(self, inputs: list[Any], outputs: list[Any], cotangents: list[Any]) -> list[Any]:
        """Return the gradients: those of the log-likelihood whose rows are weighted by the cotangent."""
        *parameters, X = inputs
        if self.known:
            # What a row's cotangent would weigh is its part of a set's log-density, not the row.
            cotangent = _common_value(cotangents[0])
            if cotangent is None:
                raise NotImplementedError(
                    "rows of which more is known have a gradient of their sum only, with one weight for all of them"
                )
            _, *gradients = MixtureLogLikelihood(self.diagonal, known=True)(*parameters, X, _unit_weights())
            gradients = [cotangent * gradient for gradient in gradients]
        else:
            _, *gradients = MixtureLogLikelihood(self.diagonal)(*parameters, X, cotangents[0])
        return [*gradients, grad_not_implemented(self, 3, X, "The data are constants of a mixture's likelihood.")]


class MixtureLogLikelihood(Op):
    """Log-likelihood of weighted rows and its gradients in log weights, means and factors, in one pass.

    Inputs: log weights (K,), means (K, D), lower Cholesky factors (K, D, D), X (N, D) and weights of the rows (N,),
    empty for unit weights. Outputs: the sum over rows of weight times log-density, and three gradients in the shapes of
    the first three inputs.

    Parameters
    ----------
    diagonal, known : bool
        As in `MixtureLogDensity`.
    """

    __props__ = ("diagonal", "known")

    def __init__(self, diagonal: bool = False, known: bool = False) -> None:
        self.diagonal, self.known = bool(diagonal), bool(known)

    def make_node(self, log_weights: Any, means: Any, scale_tril: Any, X: Any, row_weight: Any) -> Apply:
        """Return the node of checked, float64 inputs."""
        inputs = _tensors(log_weights=log_weights, means=means, scale_tril=scale_tril, X=X, row_weight=row_weight)
        return Apply(self, inputs, [pt.dscalar(), *(v.type() for v in inputs[:3])])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the shapes of the outputs without computing them."""
        return [(), *shapes[:3]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Say that every output depends on every input."""
        return [[True] * 4] * 5

    def perform(self, node: Apply, inputs: list[Any], outputs: list[Any]) -> None:
        """Evaluate in Python, with the kernel's threads."""
        log_weights, means, scale_tril, X, row_weight = map(np.ascontiguousarray, inputs)
        weight = row_weight if len(row_weight) else None
        if self.known:
            stats = statistics_of_table(X, row_weight, log_weights, means, scale_tril, diagonal=self.diagonal)
        else:
            stats = expectation(MemoryRows(X, weight), log_weights, means, scale_tril, diagonal=self.diagonal)
        factors = scale_tril * np.eye(means.shape[1]) if self.diagonal else scale_tril
        gradient = score(stats, np.linalg.inv(factors))
        for storage, value in zip(outputs, (np.asarray(stats.log_likelihood), *gradient), strict=True):
            storage[0] = value

    def pullback(self, inputs: list[Any], outputs: list[Any], cotangents: list[Any]) -> list[Any]:
        """Return the gradients of the value, which are the other outputs times its cotangent."""
        if any(not isinstance(g.type, DisconnectedType) for g in cotangents[1:]):
            raise NotImplementedError(
                "MixtureLogLikelihood has no second derivatives: use its value and gradient only, "
                "or differentiate a pm.Mixture of pm.MvNormal where a Hessian is needed"
            )
        refused = [grad_not_implemented(self, i, inputs[i], "Only the parameters have gradients.") for i in (3, 4)]
        return [*(cotangents[0] * gradient for gradient in outputs[1:]), *refused]


def mixture_log_density(
    log_weights: Any, means: Any, scale_tril: Any, X: Any, *, diagonal: bool = False, known: bool = False
) -> TensorVariable:
    """Return the symbolic log-densities (N,) of the rows of X (N, D).

    Parameters
    ----------
    log_weights, means, scale_tril : tensors of shape (K,), (K, D), (K, D, D)
        The mixture; the factors are lower triangular.
    X : tensor of shape (N, D)
        Data; gradients with respect to it are not implemented.
    diagonal : bool
        Whether the factors are diagonal.
    known : bool
        Whether X is a table of all that is known of the rows.

    Examples
    --------
    >>> import numpy as np
    >>> density = mixture_log_density(np.zeros(1), np.zeros((1, 1)), np.ones((1, 1, 1)), np.zeros((2, 1)))
    >>> density.eval(mode="FAST_COMPILE").round(3)
    array([-0.919, -0.919])
    """
    return MixtureLogDensity(diagonal, known)(log_weights, means, scale_tril, X)


def mixture_log_likelihood(
    log_weights: Any, means: Any, scale_tril: Any, X: Any, *, diagonal: bool = False, known: bool = False
) -> TensorVariable:
    """Return the symbolic log-likelihood () of all rows of X; arguments as in `mixture_log_density`."""
    return MixtureLogLikelihood(diagonal, known)(log_weights, means, scale_tril, X, _unit_weights())[0]


def _unit_weights() -> TensorVariable:
    """Return what stands for "every row counts once": no weights at all."""
    return pt.constant(np.empty(0))


def _tensors(**named: Any) -> list[TensorVariable]:
    tensors = [pt.cast(pt.as_tensor_variable(value), "float64") for value in named.values()]
    for name, tensor in zip(named, tensors, strict=True):
        if tensor.ndim != _NDIMS[name]:
            raise ValueError(f"{name} must have {_NDIMS[name]} dimensions in a mixture's likelihood, got {tensor.ndim}")
    return tensors


# --- Rewrites: one E-step for value and gradient ---


@register_specialize("bayesgmm")
@register_canonicalize("bayesgmm")
@node_rewriter([Sum])
def local_sum_of_mixture_log_density(fgraph: Any, node: Apply) -> list[Variable] | None:
    """Sum(MixtureLogDensity(...)) -> MixtureLogLikelihood(...)[0], the node whose other outputs are the gradient."""
    inner = node.inputs[0].owner
    if inner is None or not isinstance(inner.op, MixtureLogDensity):
        return None
    return [mixture_log_likelihood(*inner.inputs, diagonal=inner.op.diagonal, known=inner.op.known)]


@register_specialize("bayesgmm")
@register_canonicalize("bayesgmm")
@node_rewriter([MixtureLogLikelihood])
def local_constant_row_weight(fgraph: Any, node: Apply) -> list[Variable] | None:
    """Take a weight that all rows share out of the pass, so that nodes which differ only in it become one."""
    *inputs, row_weight = node.inputs
    if row_weight.type.shape == (0,):
        return None
    common = _common_value(row_weight)
    if common is None:
        return None
    return [common * output for output in node.op(*inputs, _unit_weights())]


def _common_value(vector: TensorVariable) -> TensorVariable | None:
    """Return the number that fills the vector, or None where that cannot be told from the graph."""
    filling = _filling(vector.owner)
    if filling is not None and all(filling.type.broadcastable):
        return pt.squeeze(filling)
    try:
        return pt.constant(get_underlying_scalar_constant_value(vector), dtype="float64")
    except NotScalarConstantError:
        return None


def _filling(node: Apply | None) -> TensorVariable | None:
    """Return what an Alloc or a fill repeats; the latter is what gradients begin with, before it is canonicalised."""
    if node is not None and isinstance(node.op, Alloc):
        return node.inputs[0]
    if node is not None and isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, Second):
        return node.inputs[1]
    return None


# --- JAX, for NumPyro's and BlackJAX's samplers ---


class _LoadJax(GraphRewriter):
    """Register our JAX functions when a graph that needs them is compiled for JAX: JAX is optional and slow to load."""

    def apply(self, fgraph: Any) -> None:
        if any(isinstance(node.op, (MixtureLogDensity, MixtureLogLikelihood)) for node in fgraph.apply_nodes):
            _register_in_jax()


optdb.register("bayesgmm_load_jax", _LoadJax(), "jax", position=100)


@cache
def _register_in_jax() -> None:
    from pytensor.link.jax.dispatch.basic import jax_funcify

    jax_funcify.register(MixtureLogDensity)(_jax_log_density)
    jax_funcify.register(MixtureLogLikelihood)(_jax_log_likelihood)


def _jax_log_density_of_table(log_weights: Any, means: Any, scale_tril: Any, table: Any, *, diagonal: bool) -> Any:
    """Return the same of a table of values and what else is known of rows, without gaps: :mod:`bayesgmm.kernels.known` has its columns."""
    import jax
    import jax.numpy as jnp

    (K, D), N = means.shape, len(table)
    X, offset, links, packed = jnp.split(table, [D, D + K, D + K + N_LINKS], axis=1)
    factors = scale_tril * jnp.eye(D) if diagonal else scale_tril
    covariances = factors @ jnp.swapaxes(factors, -1, -2)
    if packed.shape[1]:
        root = jnp.zeros((N, D, D)).at[:, *np.tril_indices(D)].set(packed)
        covariances = covariances + (root @ jnp.swapaxes(root, -1, -2))[:, None]
    L = jnp.broadcast_to(jnp.linalg.cholesky(covariances), (N, K, D, D))
    z = jax.scipy.linalg.solve_triangular(L, (X[:, None] - means)[..., None], lower=True)[..., 0]
    logs = jnp.log(jnp.diagonal(L, axis1=-2, axis2=-1)).sum(-1)
    own = offset - 0.5 * (z * z).sum(-1) - logs - 0.5 * D * jnp.log(2.0 * jnp.pi)
    first, share, times = links[:, 0].astype(int), links[:, 2].astype(int), links[:, 3]
    is_of_set = links[:, 1] >= 0
    # Rows that are on their own have weights outside; those of a set count in it as often as they weigh.
    counted = jnp.where(is_of_set, times, 1.0)
    together = jax.ops.segment_sum(counted[:, None] * own, first, N)
    parts = jax.ops.segment_sum(counted, first, N)
    own_weights = log_weights.reshape(-1, K)[share]
    return (jax.nn.logsumexp(own_weights + together[first], axis=1)) / parts[first]


def jax_log_density(log_weights: Any, means: Any, scale_tril: Any, X: Any, *, diagonal: bool, known: bool = False) -> Any:
    """Return the log-densities (N,) of rows X (N, D) under the mixture (K,), (K, D), (K, D, D), as JAX arrays.

    The package's kernel cannot run inside XLA, so the same formula is stated once more; a test holds it to the kernel.
    """
    import jax
    import jax.numpy as jnp

    if known:
        return _jax_log_density_of_table(log_weights, means, scale_tril, X, diagonal=diagonal)
    scale = jnp.diagonal(scale_tril, axis1=-2, axis2=-1)
    shifted = X[None] - means[:, None]
    if diagonal:
        z = shifted / scale[:, None]
    else:
        solved = jax.scipy.linalg.solve_triangular(scale_tril, jnp.swapaxes(shifted, -1, -2), lower=True)
        z = jnp.swapaxes(solved, -1, -2)
    constant = log_weights - jnp.log(scale).sum(-1) - 0.5 * X.shape[-1] * jnp.log(2.0 * jnp.pi)
    return jax.nn.logsumexp(constant[:, None] - 0.5 * (z * z).sum(-1), axis=0)


def _jax_log_density(op: Any, **kwargs: Any) -> Callable[..., Any]:
    def function(log_weights: Any, means: Any, scale_tril: Any, X: Any) -> Any:
        return jax_log_density(log_weights, means, scale_tril, X, diagonal=op.diagonal, known=op.known)

    return function


def _jax_log_likelihood(op: Any, **kwargs: Any) -> Callable[..., Any]:
    def function(log_weights: Any, means: Any, scale_tril: Any, X: Any, row_weight: Any) -> Any:
        import jax

        def total(log_weights: Any, means: Any, scale_tril: Any) -> Any:
            rows = jax_log_density(log_weights, means, scale_tril, X, diagonal=op.diagonal, known=op.known)
            return (rows * row_weight if row_weight.shape[0] else rows).sum()

        value, gradients = jax.value_and_grad(total, argnums=(0, 1, 2))(log_weights, means, scale_tril)
        # A gradient nobody asked for costs nothing: XLA drops it.
        return value, *gradients

    return function


# --- numba ---


def _kernel_version() -> int:
    """Return a number that changes with the kernels' source: numba's cache would go on with the old ones, linked in."""
    return int(source_stamp(__file__)[:8], 16)


@numba_dispatch.register_funcify_default_op_cache_key(MixtureLogDensity)
def _numba_log_density(op: MixtureLogDensity, node: Apply | None = None, **kwargs: Any) -> tuple[Any, int]:
    diagonal, evaluate_rows = op.diagonal, known_kernel.evaluate_known if op.known else estep.evaluate_rows

    @numba_dispatch.numba_njit
    def log_density(log_weights, means, scale_tril, X):  # type: ignore[no-untyped-def]
        means, X = np.ascontiguousarray(means), np.ascontiguousarray(X)
        prepared = estep.prepare(np.ascontiguousarray(log_weights), means, np.ascontiguousarray(scale_tril), diagonal)
        out = np.empty(X.shape[0])
        table = np.empty((0, means.shape[0]))
        evaluate_rows(X, 0, X.shape[0], prepared, diagonal, table, table, out, np.empty(0))
        return out

    return log_density, _kernel_version()


@numba_dispatch.register_funcify_default_op_cache_key(MixtureLogLikelihood)
def _numba_log_likelihood(op: MixtureLogLikelihood, node: Apply | None = None, **kwargs: Any) -> tuple[Any, int]:
    diagonal = op.diagonal
    if op.known:
        return _numba_log_likelihood_of_table(diagonal), _kernel_version()

    @numba_dispatch.numba_njit
    def log_likelihood(log_weights, means, scale_tril, X, row_weight):  # type: ignore[no-untyped-def]
        total, counts, means_out, scale_out = score_kernel.value_and_score(
            estep.statistics,
            np.ascontiguousarray(X).ravel(),
            np.ascontiguousarray(row_weight),
            np.ascontiguousarray(log_weights),
            np.ascontiguousarray(means),
            np.ascontiguousarray(scale_tril),
            diagonal,
        )
        return np.asarray(total), counts, means_out, scale_out

    return log_likelihood, _kernel_version()


def _numba_log_likelihood_of_table(diagonal: bool) -> Any:
    @numba_dispatch.numba_njit
    def log_likelihood(log_weights, means, scale_tril, X, row_weight):  # type: ignore[no-untyped-def]
        rows = np.empty(X.size + 1)
        rows[0] = X.shape[0]
        rows[1:] = np.ascontiguousarray(X).ravel()
        total, counts, means_out, scale_out = score_kernel.known_score(
            known_kernel.known_statistics,
            rows,
            np.ascontiguousarray(row_weight),
            np.ascontiguousarray(log_weights),
            np.ascontiguousarray(means),
            np.ascontiguousarray(scale_tril),
            diagonal,
        )
        return np.asarray(total), counts, means_out, scale_out

    return log_likelihood
