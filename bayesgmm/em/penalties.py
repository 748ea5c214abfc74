"""What a prior adds to EM: a log-density to climb with the log-likelihood, and an M-step that climbs both.

EM then ends at the mode of the posterior density (Dempster, Laird and Rubin 1977, section 1.3). A mode depends on the measure: it is meant
here for weights, means, standard deviations and correlation matrices themselves, along the axes of the priors' frame and without the
Jacobian of any transform. Means are
updated given the old covariances and covariances given the new means (ECM: Meng and Rubin 1993, Biometrika 80, 267-278).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import NamedTuple, Self, override

import numpy as np

from bayesgmm.covariance import WITH_PRIORS, Family, as_matrices, diagonals
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.frame import Frame, total_moments
from bayesgmm.priors import ConjugatePriors, Priors, ResolvedConjugatePriors, ResolvedPriors, ScalePrior
from bayesgmm.priors.log_prior import log_conjugate_density, terms_in_frame
from bayesgmm.rows import Rows
from bayesgmm.typing import FloatArray

__all__ = ["ConjugatePenalty", "ModelPenalty", "Moments", "Penalty", "penalty_of"]

_INNER_STEPS = 2  # of one M-step; EM itself comes back
_HALVINGS = 30
_STILL = 1e-12
_UNSEEN = 1e-13
"""Share of itself by which a value may fall from rounding alone."""


class Moments(NamedTuple):
    """Counts (K,), means (K, D) and scatters about them (K, D, D) of the rows that a mixture expects in each component."""

    counts: FloatArray
    means: FloatArray
    scatter: FloatArray
    labels: FloatArray | None = None
    """(K,): expected number of labels, where not every row has one of its own."""

    def seen_in(self, frame: Frame) -> Moments:
        """Return the moments in the coordinates of a frame."""
        return Moments(self.counts, frame.standardise(self.means), frame.covariance_in(self.scatter), self.labels)

    def about(self, centres: FloatArray) -> FloatArray:
        """Return the scatters about other centres (K, D)."""
        off = self.means - centres
        return self.scatter + self.counts[:, None, None] * off[:, :, None] * off[:, None, :]


type Components = tuple[FloatArray, FloatArray]
"""Means (K, D) and covariances (K, D, D)."""


class Penalty(ABC):
    """A prior of weights (a Dirichlet distribution), means and covariances, as EM needs it."""

    priors: ResolvedPriors | ResolvedConjugatePriors
    family: Family

    @property
    def concentration(self) -> FloatArray:
        """The Dirichlet distribution's parameters (K,)."""
        return self.priors.concentration

    @abstractmethod
    def log_density(self, weights: FloatArray, means: FloatArray, scale_tril: FloatArray) -> float:
        """Return the log of the prior density of weights (K,), means (K, D) and covariances, given by their Cholesky factors (K, D, D).

        These have a determinant where rounding leaves a nearly singular matrix none.
        """

    @abstractmethod
    def update(self, moments: Moments, means: FloatArray, covariances: FloatArray, smallest: FloatArray) -> Components:
        """Return means and covariances that are no worse for the penalised expected log-likelihood than those given.

        Parameters
        ----------
        moments : Moments
        means, covariances : arrays of shape (K, D) and (K, D, D)
            The ones before.
        smallest : array of shape (D, D)
            A covariance has to be larger than it, as matrices are; zeros where there is no bound.
        """

    @abstractmethod
    def seen_from(self, origin: FloatArray) -> Self:
        """Return the same prior for data that are counted from another origin (D,)."""

    @property
    @abstractmethod
    def is_exchangeable(self) -> bool:
        """Whether the prior is the same for every component."""

    def weights(self, counts: FloatArray) -> FloatArray:
        """Return counts whose shares are the mode of the weights; those that the prior would make negative are cut at next to nothing."""
        return np.maximum(counts + self.concentration - 1.0, np.finfo(float).tiny ** 0.25)


class _Target(NamedTuple):
    """What an M-step climbs: rows of each block less the power of the correlations' prior, that power, scatter, and the sds' prior."""

    m: FloatArray
    from_lkj: float
    scatter: FloatArray
    prior: ScalePrior


@dataclass(frozen=True, eq=False)
class ModelPenalty(Penalty):
    """The priors of the PyMC model: Normal means, a prior of the standard deviations, LKJ correlations.

    Parameters
    ----------
    priors : ResolvedPriors
    family : Family
        One whose standard deviations and correlations are free.
    n_features : int
    """

    priors: ResolvedPriors
    family: Family
    n_features: int

    @override
    def seen_from(self, origin: FloatArray) -> Self:
        return replace(self, priors=self.priors.seen_in(Frame(origin, np.eye(len(origin)))))

    @property
    @override
    def is_exchangeable(self) -> bool:
        p = self.priors
        of_components = [p.concentration, p.means_loc, p.means_scale]
        if self.family.has_own_scales:
            of_components += [np.asarray(a) for a in p.sds.parameters()]
        return all((a == a[:1]).all() for a in of_components)

    def _from_lkj(self, blocks: FloatArray) -> float:
        """``2 (eta - 1)``: the LKJ density is ``|R|^(eta - 1)``, with ``|R| = |Sigma| / prod sd^2``, and eta as expected there."""
        if not self.family.has_correlations(self.n_features):
            return 0.0
        values = np.linalg.eigvalsh(blocks / _units(_sds_of(blocks)))
        log_det = np.log(np.maximum(values, np.finfo(float).tiny)).sum(-1)
        return 2.0 * (float(self.priors.correlations.expected_eta(log_det, self.n_features)) - 1.0)

    @override
    def log_density(self, weights: FloatArray, means: FloatArray, scale_tril: FloatArray) -> float:
        inside = self.priors.frame.standardise(means), self.priors.frame.factor_in(scale_tril)
        terms = terms_in_frame(weights, *inside, self.priors, self.family, of_factors=False)
        return float(sum(terms.values()))

    @override
    def update(self, moments: Moments, means: FloatArray, covariances: FloatArray, smallest: FloatArray) -> Components:
        frame, loc, scale = self.priors.frame, self.priors.means_loc, self.priors.means_scale
        moments, covariances = moments.seen_in(frame), frame.covariance_in(covariances)
        sds = _sds_of(covariances)
        units = _units(sds)
        pull = moments.counts[:, None, None] * np.linalg.inv(covariances / units) / units
        towards = pull @ (moments.means - loc)[..., None]
        means = loc + np.linalg.solve(pull + as_matrices(scale**-2.0), towards)[..., 0]
        counts, scatter = self.family.pooled(moments.counts, moments.about(means))
        blocks = self._climb(self.family.blocks(covariances), counts, scatter, smallest)
        return frame.center + means @ frame.factor.T, frame.covariance_out(self.family.expanded(blocks, *means.shape))

    def _climb(self, blocks: FloatArray, counts: FloatArray, scatter: FloatArray, smallest: FloatArray) -> FloatArray:
        """Climb from the old covariances by natural-gradient steps, each halved until it does not descend.

        With ``m = n - 2 (eta - 1)`` and h the slopes of the rest of the log-prior in the variances (times two), the gradient in Sigma
        vanishes where ``m Sigma = S + Sigma diag(h) Sigma``: without a prior the first step is the M-step.
        """
        from_lkj = self._from_lkj(blocks)
        m = counts - from_lkj
        size = np.maximum(m, 1.0)[:, None, None]
        # What all standard deviations share, and which eta holds, are two more things that are not seen: what is expected of them, given
        # the covariances before, is all that counts.
        prior = self.priors.sds.given(self._free(_sds_of(blocks)))
        target = _Target(m, from_lkj, scatter, prior)
        value = self._value(blocks, target)
        for _ in range(_INNER_STEPS):
            sds = _sds_of(blocks)
            h = (prior.slope(self._free(sds)).reshape(sds.shape) - from_lkj) / sds**2
            step = (scatter + blocks @ (h[..., None] * blocks) - m[:, None, None] * blocks) / size
            blocks, value, moved = self._line_search(blocks, value, step, target, smallest)
            if not moved:
                break
        return blocks

    def _line_search(
        self, blocks: FloatArray, value: FloatArray, step: FloatArray, target: _Target, smallest: FloatArray
    ) -> tuple[FloatArray, FloatArray, bool]:
        """Go a step, or the half of it and so on, raised to the bound where it leads below, until no block is worse than before."""
        length = np.ones(len(blocks))
        for _ in range(_HALVINGS):
            new = self._above(blocks + length[:, None, None] * step, smallest)
            new_value = self._value(new, target)
            worse = ~((new_value >= value - _UNSEEN * np.abs(value)) & np.isfinite(new_value))
            if not worse.any():
                return new, new_value, bool((np.abs(new - blocks) > _STILL * np.abs(blocks)).any())
            length[worse] /= 2
        new[worse], new_value[worse] = blocks[worse], value[worse]
        return new, new_value, not worse.all()

    def _above(self, blocks: FloatArray, smallest: FloatArray) -> FloatArray:
        """Return the free matrices raised to the bound (D, D), which is one along the columns."""
        if not smallest.any():
            return blocks
        if self.priors.frame.is_along_columns:
            return _raised(blocks, self.family.blocks(self.priors.frame.covariance_in(smallest[None]))[0])
        return self.priors.frame.covariance_in(_raised(self.priors.frame.covariance_out(blocks), smallest))

    def _value(self, blocks: FloatArray, target: _Target) -> FloatArray:
        """Return what the M-step climbs, for each block; minus infinity where a matrix is not positive definite.

        In units of the standard deviations: columns of very unlike size would leave determinants no digits.
        """
        m, from_lkj, scatter, prior = target
        out = np.full(len(blocks), -np.inf)
        good = (diagonals(blocks) > 0).all(-1) & np.isfinite(blocks).all((-2, -1))
        blocks = np.where(good[:, None, None], blocks, np.eye(blocks.shape[-1]))
        sds = _sds_of(blocks)
        units = _units(sds)
        values, vectors = np.linalg.eigh(blocks / units)
        good &= values[:, 0] > 0
        if not good.any():
            return out
        values = np.where(good[:, None], values, 1.0)
        log_det = np.log(values).sum(-1) + 2.0 * np.log(sds).sum(-1)
        trace = ((vectors * ((scatter / units) @ vectors)).sum(-2) / values).sum(-1)
        of_prior = prior.log_kernel(self._free(sds)).reshape(sds.shape).sum(-1) - from_lkj * np.log(sds).sum(-1)
        return np.where(good, -0.5 * m * log_det - 0.5 * trace + of_prior, out)

    def _free(self, sds: FloatArray) -> FloatArray:
        """Give standard deviations of blocks (B, d) the prior's shape."""
        return sds.reshape(self.family.sds_shape(*sds.shape))


@dataclass(frozen=True, eq=False)
class ConjugatePenalty(Penalty):
    """Inverse Wishart covariances, whose scale may be learned, and means that are normal given them.

    Its M-step is closed (Fraley and Raftery 2007, Journal of Classification 24, 155-181, section 3). The measure is that of weights, means
    and covariance matrices (variances, for diagonal and spherical ones).

    Parameters
    ----------
    priors : ResolvedConjugatePriors
    family : Family
    """

    priors: ResolvedConjugatePriors
    family: Family

    @override
    def seen_from(self, origin: FloatArray) -> Self:
        return replace(self, priors=replace(self.priors, means_loc=self.priors.means_loc - origin))

    @property
    @override
    def is_exchangeable(self) -> bool:
        return bool((self.priors.concentration == self.priors.concentration[0]).all())

    @override
    def log_density(self, weights: FloatArray, means: FloatArray, scale_tril: FloatArray) -> float:
        return float(log_conjugate_density(weights, means, scale_tril, self.priors, self.family))

    @override
    def update(self, moments: Moments, means: FloatArray, covariances: FloatArray, smallest: FloatArray) -> Components:
        p, n, (K, D) = self.priors, moments.counts, moments.means.shape
        # A learned scale is one more thing that is not seen: what is expected of it, given the covariances before, is all that counts.
        scale = p.scale if p.scale_df is None else p.scale_given(_roots(covariances), self.family)
        means = p.means_loc + (n / (n + p.shrinkage))[:, None] * (moments.means - p.means_loc)
        off = moments.means - p.means_loc
        pull = (p.shrinkage * n / (p.shrinkage + n))[:, None, None] * off[:, :, None] * off[:, None, :]
        scatter = moments.scatter + pull
        if not self.family.has_scales_by_column:
            total = np.trace(scale) / D + np.trace(scatter, axis1=1, axis2=2)
            return means, (total / (p.df + D * (n + 1.0) + 2.0))[:, None, None] * np.eye(D)
        if self.family.diagonal:
            return means, as_matrices((np.diag(scale) + diagonals(scatter)) / (p.df + n + 3.0)[:, None])
        if not self.family.has_own_scales:
            tied = (scale + scatter.sum(0)) / (p.df + D + 1.0 + n.sum() + K)
            return means, np.broadcast_to(_raised(tied[None], smallest), scatter.shape)
        # The prior's scale is that of the rows: where these are collinear it holds nothing up.
        return means, _raised((scale + scatter) / (p.df + n + D + 2.0)[:, None, None], smallest)


def _roots(covariances: FloatArray) -> FloatArray:
    """Return Cholesky factors (K, D, D) of covariances, in whose units columns are on one scale."""
    sds = _sds_of(covariances)
    return sds[:, :, None] * np.linalg.cholesky(covariances / _units(sds))


def penalty_of(priors: Priors | ConjugatePriors, rows: Rows, n_components: int, family: Family) -> Penalty:
    """Return what priors add to EM on some rows.

    Raises
    ------
    InvalidParameterError
        If the family has no free standard deviations and correlations to put priors on, or a prior's shape does not fit.
    """
    if family.name not in WITH_PRIORS:
        raise InvalidParameterError(
            f"priors can be put on covariance_type {', '.join(map(repr, WITH_PRIORS))}, not on {family.name!r}: choose one of those, "
            "or priors=None"
        )
    if isinstance(priors, Priors):
        # EM has floors of its own, and climbs where a bound would be a wall.
        priors = replace(priors, smallest_sd=0.0)
        return ModelPenalty(priors.resolve(rows, n_components, family), family, rows.n_features)
    return ConjugatePenalty(priors.resolve(*total_moments(rows), n_components), family)


def _raised(blocks: FloatArray, bound: FloatArray) -> FloatArray:
    """Return matrices (B, d, d) with their eigenvalues, in units of a diagonal bound (d, d), raised to one."""
    if not bound.any():
        return blocks
    units = np.sqrt(np.outer(np.diag(bound), np.diag(bound)))
    values, vectors = np.linalg.eigh(blocks / units)
    low = values[:, 0] < 1.0
    if not low.any():
        return blocks
    out = blocks.copy()
    out[low] = (vectors[low] * np.maximum(values[low], 1.0)[:, None, :]) @ np.swapaxes(vectors[low], -1, -2) * units
    return out


def _sds_of(blocks: FloatArray) -> FloatArray:
    return np.sqrt(diagonals(blocks))


def _units(sds: FloatArray) -> FloatArray:
    """Return the units (B, d, d) of the elements of covariances whose standard deviations are (B, d)."""
    return sds[:, :, None] * sds[:, None, :]
