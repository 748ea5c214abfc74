"""The log-posterior on the unconstrained space, compiled: the density of ``build_model``'s model, without building it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from threading import Lock
from typing import Any, ClassVar, Protocol

import numpy as np
from scipy.special import gammaln

from bayesgmm.bayes import _compiled_log_posterior as _compiled
from bayesgmm.bayes._compiled_hmc import SCORE_GIVEN_LABELS, draw_labels
from bayesgmm.bayes.unconstrained_space import Space, spiral
from bayesgmm.expectation import Statistics, evaluation_pass, expectations, score
from bayesgmm.frame import Frame
from bayesgmm.kernels.compile import Pointer, plain
from bayesgmm.kernels.estep import STATISTICS
from bayesgmm.kernels.known import KNOWN_STATISTICS
from bayesgmm.kernels.missing import GAPPED_STATISTICS
from bayesgmm.kernels.score import GIVEN_SCORE, KNOWN_SCORE, SCORE
from bayesgmm.kernels.threads import chunks, ordered_map
from bayesgmm.rows import Chunk, Known, MemoryRows, Rows
from bayesgmm.rows.concomitant import Covariates, Samples
from bayesgmm.rows.missing import has_missing, order_by_gaps
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["ChunkedLogPosterior", "LogDensity", "LogPosterior", "flat_of_one_component", "log_prior"]

TOGETHER = 64
"""Points that one thread evaluates; or, of rows in chunks, whose statistics are taken in one pass."""


class LogDensity(Protocol):
    """What samplers ask: the value and the gradient of a log-density on the unconstrained space."""

    is_expensive: ClassVar[bool]
    """Whether every evaluation is a pass over rows that are not in memory."""

    @property
    def space(self) -> Space:
        """The mixtures that its arguments stand for."""

    def __call__(self, q: FloatArray) -> tuple[float, FloatArray]:
        """Return log-density and gradient at q (n_dim,)."""

    def at_each(self, q: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log-densities (S,) and gradients (S, n_dim) at the rows of q (S, n_dim)."""


@dataclass(frozen=True, eq=False)
class LogPosterior:
    """Log-posterior density and gradient of a mixture on PyMC's unconstrained space.

    Equal to ``model.logp()`` and ``model.dlogp()`` of :func:`bayesgmm.build_model` with the same data and priors, constants included.

    Parameters
    ----------
    X : array of shape (N, D)
        NaN stands for a missing value: such a row has the marginal density of what it has.
    space : Space
        With the priors, for data in the coordinates of X.
    sample_weight : array of shape (N,), optional
        How often each row counts.
    known : Known, optional
        What is known of the rows beside their values.
    """

    X: FloatArray
    space: Space
    sample_weight: FloatArray | None = None
    known: Known | None = None
    user_data: FloatArray = field(init=False)
    """The flat array that the compiled density reads."""

    is_expensive: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "X", plain(self.X))
        X, weight = self.X, np.empty(0) if self.sample_weight is None else self.sample_weight
        if self.known is not None:
            rows = MemoryRows(X, self.sample_weight, known=self.known).distinct()
            table = rows.chunk.table(self.space.n_components)
            packed = _packed(
                self.space,
                KNOWN_SCORE,
                np.concatenate([[len(table)], table.ravel()]),
                np.empty(0) if rows.weights is None else rows.weights,
            )
        else:
            if has_missing(X):
                order = order_by_gaps(X, len(X))
                X, weight = X[order], weight[order] if len(weight) else weight
            packed = _packed(self.space, SCORE, X, weight)
        object.__setattr__(self, "user_data", packed)

    def __reduce__(self) -> tuple[Any, ...]:
        """Be packed anew where it is unpickled: the flat array holds addresses of this process."""
        return LogPosterior, (self.X, self.space, self.sample_weight, self.known)

    def __call__(self, q: FloatArray) -> tuple[float, FloatArray]:
        """Return log-density and gradient at q (n_dim,).

        Raises
        ------
        ValueError
            If q does not have the space's length: the compiled code would read past its end.
        """
        _check_length(len(q), self.space)
        value, gradient = _evaluate(q, self.user_data)
        along = self.space.projection
        return value, gradient if along is None else along @ gradient

    @property
    def can_draw_labels(self) -> bool:
        """Whether every row has one label of its own and counts once: a row that counts 1.5 times has none."""
        known = self.known
        is_of_labels = known is None or (known.sets is None and known.error_of is None and known.share_of is None)
        return is_of_labels and self.sample_weight is None and not np.isnan(self.X).any()

    @cached_property
    def chunk(self) -> Chunk:
        """The rows, for passes that draw their labels."""
        return Chunk(self.X, self.sample_weight, known=self.known)

    @property
    def table(self) -> FloatArray:
        """The rows (N, D + M) as compiled passes take them."""
        return self.chunk.table(self.space.n_components)

    def given_labels(self) -> FloatArray:
        """Return the flat array of the posterior given labels; it ends with counts (K,), means (K, D) and scatters (K, D, D), all zero."""
        K, D = self.space.n_components, self.space.n_features
        return _packed(self.space, SCORE_GIVEN_LABELS, np.zeros(K * (1 + D + D * D)), np.empty(0))

    def with_labels(self, labels: IntArray) -> Callable[[FloatArray], tuple[float, FloatArray]]:
        """Return the log-posterior given labels (N,), and its gradient, as a function of q (n_dim,)."""
        chosen = np.eye(self.space.n_components)[labels]
        counts = chosen.sum(0)
        means = chosen.T @ self.X / np.maximum(counts, 1)[:, None]
        about = self.X - means[labels]
        scatters = np.einsum("nk,nd,ne->kde", chosen, about, about, optimize=True)
        user = self.given_labels()
        self._groups(user)[:] = np.concatenate([counts, means.ravel(), scatters.ravel()])
        return partial(_evaluate, user_data=user)

    def draw_labels(self, q: FloatArray, uniforms: FloatArray, labelled: FloatArray) -> None:
        """Draw labels at q (n_dim,), and write the groups' counts, means and scatters into the flat array of :meth:`given_labels`.

        With no ``uniforms`` (N,), every row counts in all groups, by its responsibilities.
        """
        responsibilities = np.empty((len(self.X), self.space.n_components))
        evaluate = evaluation_pass(self.chunk)
        draw_labels(evaluate, q, self.table, self.user_data, uniforms, responsibilities, self._groups(labelled))

    def _groups(self, labelled: FloatArray) -> FloatArray:
        """Return the end of the flat array given labels: counts, means and scatters."""
        K, D = self.space.n_components, self.space.n_features
        return labelled[len(labelled) - K * (1 + D + D * D) :]

    def at_each(self, q: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log-densities (S,) and gradients (S, n_dim) at the rows of q (S, n_dim), in threads."""

        def task(start: int, stop: int) -> list[tuple[float, FloatArray]]:
            return [self(row) for row in q[start:stop]]

        found = [pair for part in ordered_map(task, chunks(len(q), TOGETHER)) for pair in part]
        return np.array([value for value, _ in found]), np.array([gradient for _, gradient in found]).reshape(q.shape)


@dataclass(frozen=True, eq=False)
class ChunkedLogPosterior:
    """Log-posterior density and gradient, in scaled columns, of rows in chunks that stay in the user's units.

    The pass over the rows is made wherever they are; the rest is the compiled density's. Whitened by a component, a row is the same in
    either units, and so are the statistics; only the density changes, by the scales.

    Parameters
    ----------
    rows : Rows
    space : Space
        With the priors, for data in the coordinates of the frame.
    frame : Frame
        Along the columns.
    """

    rows: Rows
    space: Space
    frame: Frame
    _prior: FloatArray = field(init=False)
    _one_pass_at_a_time: Lock = field(init=False, default_factory=Lock)  # it has all cores already

    is_expensive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "_prior", _without_rows(self.space))

    def __call__(self, q: FloatArray) -> tuple[float, FloatArray]:
        """Return log-density and gradient at q (n_dim,), in one pass over the chunks."""
        values, gradients = self.at_each(np.asarray(q, dtype=float)[None])
        return float(values[0]), gradients[0]

    def at_each(self, q: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log-densities (S,) and gradients (S, n_dim) at the rows of q (S, n_dim), in as few passes as memory allows."""
        _check_length(q.shape[-1], self.space)
        parts = [self._in_one_pass(q[i : i + TOGETHER]) for i in range(0, len(q), TOGETHER)]
        return np.concatenate([values for values, _ in parts]), np.concatenate([gradients for _, gradients in parts])

    def _in_one_pass(self, q: FloatArray) -> tuple[FloatArray, FloatArray]:
        inside = self.space.constrain(q)
        mixtures = list(zip(*self.frame.params_out(inside).arrays(), strict=True))
        if not all(np.isfinite(array).all() for mixture in mixtures for array in mixture):
            # A step that overflowed: its density is none, and a sampler turns back.
            return np.full(len(q), -np.inf), np.zeros_like(q)
        with self._one_pass_at_a_time:
            found = expectations(self.rows, mixtures, diagonal=self.space.n_matrices == 0)
        ends = [_evaluate(row, self._given(*pair)) for row, *pair in zip(q, found, inside.scale_tril, strict=True)]
        return np.array([value for value, _ in ends]), np.array([gradient for _, gradient in ends])

    def _given(self, statistics: Statistics, scale_tril: FloatArray) -> FloatArray:
        """Return the flat array with value and gradients of the log-likelihood, in the frame's coordinates, in the place of rows."""
        value = statistics.log_likelihood + float(self.rows.summary.seen @ np.log(np.diag(self.frame.factor)))
        gradient = score(statistics, np.ascontiguousarray(np.linalg.inv(scale_tril)))
        numbers = np.concatenate([[value], *(part.ravel() for part in gradient)])
        return np.concatenate([self._prior[: -len(numbers)], numbers])


def log_prior(q: FloatArray, space: Space) -> FloatArray:
    """Return the log-densities (S,) of the prior alone at the rows of q (S, n_dim), on the unconstrained space."""
    without_rows = _without_rows(space)
    return np.array([_evaluate(row, without_rows)[0] for row in q])


def flat_of_one_component(space: Space) -> FloatArray:
    """Return the flat array of a mixture of one component given its rows, which it ends with: count, mean (D,) and scatter (D, D)."""
    D = space.n_features
    return _packed(space, SCORE_GIVEN_LABELS, np.zeros(1 + D + D * D), np.empty(0))


def _check_length(length: int, space: Space) -> None:
    if length != space.n_dim:
        raise ValueError(f"q must have length {space.n_dim}, got {length}")


def _evaluate(q: FloatArray, user_data: FloatArray) -> tuple[float, FloatArray]:
    gradient = np.empty(len(q))
    return _compiled.log_posterior(np.ascontiguousarray(q, dtype=float), user_data, gradient), gradient


def _without_rows(space: Space) -> FloatArray:
    """Return the flat array of the prior alone: the log-likelihood and its gradients, found beforehand, are all zero."""
    K, D = space.n_components, space.n_features
    return _packed(space, GIVEN_SCORE, np.zeros(1 + K + K * D + K * D * D), np.empty(0))


def _packed(space: Space, compiled_score: Pointer, rows: FloatArray, weight: FloatArray) -> FloatArray:
    """Return the flat array of a posterior, given rows and weights as the compiled pass takes them."""
    K, D, priors, nothing = space.n_components, space.n_features, space.priors, np.empty(0)
    by_feature = space.family.has_scales_by_column
    frame, rounding = priors.frame, np.zeros((D, D)) if priors.rounding is None else priors.rounding
    e_step = KNOWN_STATISTICS if compiled_score is KNOWN_SCORE else STATISTICS
    if compiled_score is SCORE and has_missing(rows):
        e_step = GAPPED_STATISTICS
    problem = _compiled.Problem(
        D=D,
        K=K,
        n_matrices=space.n_matrices,
        kind=priors.sds.kind,
        sd_per_component=(D if by_feature else 1) if space.family.has_own_scales else 0,
        sd_per_feature=int(by_feature),
        constant=_constant(space),
        shared=priors.sds.shared,
        alpha=priors.concentration,
        loc=priors.means_loc,
        scale=priors.means_scale,
        **dict(zip(("prior_a", "prior_b", "factors"), _sds_prior(space), strict=True)),
        etas=np.array(priors.correlations.etas),
        eta_constants=priors.correlations.log_constants(D),
        center=nothing if priors.is_direct else frame.center,
        turn=nothing if priors.is_direct else frame.factor,
        rounding=nothing if priors.is_direct else rounding,
        order=spiral(D) if D > 1 else nothing,
        mixing=space.mixing,
        design=space.concomitant.design if isinstance(space.concomitant, Covariates) else nothing,
        fixed=nothing if space.fixed is None or space.free_weights.all() else np.log(space.fixed.weights),
        weight=weight,
        rows=rows,
    )
    packed: FloatArray = _compiled.pack(problem, e_step, compiled_score)
    return packed


def _sds_prior(space: Space) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the two parameters of each standard deviation's prior, flat, and the factors of a joint one."""
    sds = space.priors.sds
    first, second = (np.broadcast_to(parameter, space.sds_shape).ravel().astype(float) for parameter in sds.parameters())
    is_joint_log_normal = sds.is_joint and sds.kind != _compiled.VARIANCES
    return first, second, np.array(sds.factors) if is_joint_log_normal else np.empty(0)


def _constant(space: Space) -> float:
    """Sum of all terms that do not depend on q, so that values equal PyMC's."""
    K, D, priors = space.n_components, space.n_features, space.priors
    alpha = priors.concentration
    dirichlet = gammaln(alpha.sum()) - gammaln(alpha).sum() + (np.log(K) if K > 1 else 0.0)
    if space.fixed is not None and not space.free_weights.all():
        own = alpha[space.free_weights]
        dirichlet = gammaln(own.sum()) - gammaln(own).sum() + np.log(max(len(own), 1)) if len(own) > 1 else 0.0
    normal = -np.log(priors.means_scale).sum() - 0.5 * K * D * np.log(2 * np.pi)
    which_eta = -np.log(len(priors.correlations.etas)) if space.n_matrices else 0.0
    return float(dirichlet + normal + _sds_constant(space) + which_eta + _shares_constant(space))


def _shares_constant(space: Space) -> float:
    """The constants of weights that depend on something, and of their transforms."""
    K, mixing = space.n_components, space.mixing
    if isinstance(space.concomitant, Covariates):
        n_covariates = len(space.concomitant.names)
        return n_covariates * (-(K - 1) * (np.log(mixing[3]) + 0.5 * np.log(2 * np.pi)) + 0.5 * np.log(K))
    if isinstance(space.concomitant, Samples):
        return (space.concomitant.n_shares * np.log(K) if K > 1 else 0.0) - np.log(mixing[4]) - 0.5 * np.log(2 * np.pi)
    return 0.0


def _sds_constant(space: Space) -> float:
    """At standard deviations of one the compiled density leaves out exactly what it always leaves out."""
    sds, (first, second, factors) = space.priors.sds, _sds_prior(space)
    zeros = np.zeros(len(first))
    if sds.is_joint and sds.kind == _compiled.VARIANCES:
        without = _compiled.joint_variance_prior(first, second, float(sds.shared), zeros, space.n_components, zeros.copy())
    elif sds.is_joint:
        without = _compiled.joint_sd_prior(first, second, float(sds.shared), factors, zeros, space.n_components, zeros.copy())
    else:
        without = sum(_compiled.sd_prior(sds.kind, *numbers, 0.0)[0] for numbers in zip(first, second, strict=True))
    ones = np.ones(space.sds_shape)
    return float(sds.log_density(ones, ones.ndim) - without)
