"""The fast log-posterior: the density of ``build_model``'s model, without building it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from scipy.special import gammaln

from bayesgmm.bayes import _density
from bayesgmm.bayes.space import Space, spiral
from bayesgmm.kernels.compile import Pointer
from bayesgmm.kernels.estep import STATISTICS
from bayesgmm.kernels.score import SCORE, SCORE_OF_PARTS
from bayesgmm.kernels.threads import chunks, ordered_map
from bayesgmm.priors import ResolvedPriors
from bayesgmm.rows import Chunk
from bayesgmm.typing import FloatArray

__all__ = ["LogPosterior"]

TOGETHER = 64
"""Points that a task evaluates."""
_CODES = {"full": _density.FULL, "tied": _density.TIED, "diag": _density.DIAGONAL, "spherical": _density.SPHERICAL}


@dataclass(frozen=True, eq=False)
class LogPosterior:
    """Log-posterior density and gradient of a mixture on PyMC's unconstrained space.

    Equal to ``model.logp()`` and ``model.dlogp()`` of :func:`bayesgmm.build_model` with the same data and priors, constants included.

    Parameters
    ----------
    X : array of shape (N, D)
        NaN stands for a missing value: such a row has the marginal density of what it has.
    space : Space
        Its frame and rounding become those of the priors.
    priors : ResolvedPriors
        For data in the coordinates of X.
    sample_weight : array of shape (N,), optional
        How often each row counts.
    """

    X: FloatArray
    space: Space
    priors: ResolvedPriors
    sample_weight: FloatArray | None = None
    user_data: FloatArray = field(init=False)
    """The flat array that the compiled density reads."""

    in_chunks: ClassVar[bool] = False
    """Whether every evaluation is a pass over rows that are not in memory."""

    _n_dim: int = field(init=False)

    def __post_init__(self) -> None:
        # In which frame parameters are is the prior's matter, and the space's too.
        object.__setattr__(self, "space", replace(self.space, priors=self.priors))
        object.__setattr__(self, "user_data", self._pack())
        object.__setattr__(self, "_n_dim", self.space.n_dim)

    def __reduce__(self) -> tuple[Any, ...]:
        """Be packed anew where it is unpickled: the flat array holds addresses of this process."""
        return LogPosterior, (self.X, self.space, self.priors, self.sample_weight)

    def __call__(self, q: FloatArray) -> tuple[float, FloatArray]:
        """Return log-density and gradient at q (n_dim,).

        Raises
        ------
        ValueError
            If q does not have the space's length: the compiled code would read past its end.
        """
        if len(q) != self._n_dim:
            raise ValueError(f"q must have length {self._n_dim}, got {len(q)}")
        gradient = np.empty(len(q))
        return _density.log_posterior(np.ascontiguousarray(q, dtype=float), self.user_data, gradient), gradient

    def at_each(self, q: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log-densities (S,) and gradients (S, n_dim) at the rows of q (S, n_dim), in threads."""

        def task(start: int, stop: int) -> list[tuple[float, FloatArray]]:
            return [self(row) for row in q[start:stop]]

        found = [pair for part in ordered_map(task, chunks(len(q), TOGETHER)) for pair in part]
        return np.array([value for value, _ in found]), np.array([gradient for _, gradient in found]).reshape(q.shape)

    def _score(self) -> Pointer:
        """Return the compiled pass over the rows."""
        return SCORE_OF_PARTS if self.has_gaps else SCORE

    @cached_property
    def has_gaps(self) -> bool:
        """Whether some row lacks some value."""
        return not self._chunk.is_complete

    @cached_property
    def _chunk(self) -> Chunk:
        return Chunk(self.X)

    def _pack(self) -> FloatArray:
        K, D = self.space.n_components, self.space.n_features
        spreads = self._spreads()
        order = spiral(D) if D > 1 else np.empty(0)
        weight, rows = self._rows()
        frame, rounding = self.priors.frame, self.priors.rounding
        carried = () if frame.is_identity else (frame.center, frame.factor)
        carried = carried if rounding is None else (*carried, rounding)
        factors = self._factors()
        correlations = self.priors.correlations
        lkj = (correlations.etas, correlations.log_constants(D))
        of_priors = (self.priors.concentration, self.priors.means_loc, self.priors.means_scale, *spreads, factors, *lkj)
        body = np.concatenate([np.ravel(piece).astype(float) for piece in (*of_priors, *carried, order, weight, rows)])
        kinds = [_CODES[self.space.family.name], self.priors.sds.kind]
        functions = (STATISTICS, self._score(), _density.LOG_POSTERIOR)
        addresses = np.array([function.address for function in functions]).view(float)
        head = [D, K, *kinds, self._constant(), len(weight), *addresses, _density.HEADER + len(body)]
        head += [self.priors.sds.shared, not frame.is_identity, rounding is not None, len(factors), len(correlations.etas)]
        return np.concatenate([head, body])

    def _rows(self) -> tuple[FloatArray, FloatArray]:
        """Return weights, and the rows: as they are, or sorted by what they have where there are gaps."""
        weight = np.empty(0) if self.sample_weight is None else self.sample_weight
        if not self.has_gaps:
            return weight, self.X
        patterns = [part for part in self._chunk.patterns if len(part.columns)]  # a row without any value says nothing
        pieces = [np.concatenate([[len(part.X), len(part.columns)], part.columns, part.X.ravel()]) for part in patterns]
        kept = np.concatenate([part.rows for part in patterns])
        return weight[kept] if len(weight) else weight, np.concatenate(pieces)

    def _constant(self) -> float:
        """Sum of all terms that do not depend on q, so that values equal PyMC's."""
        K, D = self.space.n_components, self.space.n_features
        alpha = self.priors.concentration
        dirichlet = gammaln(alpha.sum()) - gammaln(alpha).sum() + (np.log(K) if K > 1 else 0.0)
        normal = -np.log(self.priors.means_scale).sum() - 0.5 * K * D * np.log(2 * np.pi)
        which_eta = -np.log(len(self.priors.correlations.etas)) if self.space.n_matrices else 0.0
        return float(dirichlet + normal + self._sds_constant() + which_eta)

    def _spreads(self) -> tuple[FloatArray, ...]:
        """Return the two parameters of the standard deviations' prior, each in the family's shape."""
        return tuple(np.broadcast_to(p, self.space.sds_shape) for p in self.priors.sds.parameters())

    def _factors(self) -> FloatArray:
        """Return the factors of a joint prior of the standard deviations, none where these are independent."""
        sds = self.priors.sds
        return np.array(sds.factors) if sds.is_joint else np.empty(0)

    def _sds_constant(self) -> float:
        """At standard deviations of one the compiled density leaves out exactly what it always leaves out."""
        sds, spreads = self.priors.sds, [np.ravel(p).astype(float) for p in self._spreads()]
        zeros = np.zeros(len(spreads[0]))
        if sds.is_joint:
            args = (*spreads, float(sds.shared), self._factors())
            without = _density.joint_sd_prior(*args, zeros, self.space.n_components, zeros.copy())
        else:
            without = sum(_density.sd_prior(sds.kind, *numbers, 0.0)[0] for numbers in zip(*spreads, strict=True))
        ones = np.ones(self.space.sds_shape)
        return float(sds.log_density(ones, ones.ndim) - without)
