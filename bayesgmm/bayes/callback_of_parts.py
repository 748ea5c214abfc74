"""The C callback for rows with gaps: a module of its own, because a callback is compiled when its module is imported."""

from numba import carray

from bayesgmm.bayes import _density
from bayesgmm.bayes.callback import LOG_DENSITY, answer
from bayesgmm.expectation._compile import compiled_callback

__all__ = ["log_density_callback"]


@compiled_callback(LOG_DENSITY)
def log_density_callback(n_dim, q_pointer, gradient_pointer, value_pointer, user_pointer):
    """Evaluate the log-posterior of rows with gaps."""
    head = carray(user_pointer, (_density.HEADER,))
    user = carray(user_pointer, (int(head[_density.HEADER - 1]),))
    gradient = carray(gradient_pointer, (n_dim,))
    return answer(_density.log_posterior_of_parts(carray(q_pointer, (n_dim,)), user, gradient), gradient, value_pointer)
