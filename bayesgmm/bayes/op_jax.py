"""The mixture likelihood in JAX, for NumPyro's and BlackJAX's samplers; `register` loads JAX, this module does not.

The package's kernel cannot run inside XLA, so the same formula is stated once more in ``jax.numpy``; a test holds it to
the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

__all__ = ["log_density", "register"]


@cache
def register(density: type, likelihood: type) -> None:
    """Tell PyTensor how to write our Ops in JAX.

    Parameters
    ----------
    density, likelihood : Op classes
        `bayesgmm.bayes.op.MixtureLogDensity` and `bayesgmm.bayes.op.MixtureLogLikelihood`.

    Raises
    ------
    ImportError
        If JAX is not installed.
    """
    from pytensor.link.jax.dispatch.basic import jax_funcify

    jax_funcify.register(density)(_jax_log_density)
    jax_funcify.register(likelihood)(_jax_log_likelihood)


def log_density(log_weights: Any, means: Any, scale_tril: Any, X: Any, *, diagonal: bool) -> Any:
    """Return the log-densities (N,) of rows X (N, D) under the mixture (K,), (K, D), (K, D, D), as JAX arrays."""
    import jax
    import jax.numpy as jnp

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
        return log_density(log_weights, means, scale_tril, X, diagonal=op.diagonal)

    return function


def _jax_log_likelihood(op: Any, **kwargs: Any) -> Callable[..., Any]:
    def function(log_weights: Any, means: Any, scale_tril: Any, X: Any, row_weight: Any) -> Any:
        import jax

        def total(log_weights: Any, means: Any, scale_tril: Any) -> Any:
            rows = log_density(log_weights, means, scale_tril, X, diagonal=op.diagonal)
            return (rows * row_weight if row_weight.shape[0] else rows).sum()

        value, gradients = jax.value_and_grad(total, argnums=(0, 1, 2))(log_weights, means, scale_tril)
        # A gradient nobody asked for costs nothing: XLA drops it.
        return value, *gradients

    return function
