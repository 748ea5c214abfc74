"""A fit that was stopped goes on as if it had not been."""

import json

import numpy as np
import pytest

import bayesgmm.em.run as iterate
from bayesgmm import GaussianMixture, Priors, open_rows
from bayesgmm.em.checkpoint import Checkpoint
from bayesgmm.em.search import SAME_HEIGHT
from bayesgmm.exceptions import InvalidDataError, InvalidParameterError


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    """Three groups that overlap so much that EM is slow."""
    rng = np.random.default_rng(8)
    return rng.normal(size=(400, 2)) + np.array([[0.0, 0.0], [2.6, 0.4], [0.2, 3.0]])[rng.integers(3, size=400)]


@pytest.fixture
def path(X, tmp_path):
    np.save(tmp_path / "x.npy", X)
    return tmp_path / "x.npy"


def stopped_at(monkeypatch, iteration: int) -> None:
    """Let an interrupt come in the middle of so many iterations on all rows."""
    taken, step = [0], iterate.m_step

    def interrupted(*args):
        taken[0] += 1
        if taken[0] == iteration:
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setattr(iterate, "m_step", interrupted)


def assert_same_bits(one: GaussianMixture, other: GaussianMixture) -> None:
    for name in ("weights", "means", "scale_tril"):
        np.testing.assert_array_equal(getattr(one.params_, name), getattr(other.params_, name))
    np.testing.assert_array_equal(one.log_likelihood_trace_, other.log_likelihood_trace_)
    assert (one.status_, one.message_, one.n_iter_saved_) == (other.status_, other.message_, other.n_iter_saved_)


@pytest.mark.parametrize(
    ("iteration", "how"),
    [
        (1, {}),
        (2, {}),
        (31, {}),
        (60, {}),
        (9, {"n_init": 2}),
        (9, {"noise": True, "n_init": 1}),
        (9, {"priors": Priors(), "n_init": 1}),
    ],
)
def test_resumed_is_uninterrupted_bit_for_bit(path, tmp_path, iteration, how):
    def rows():
        return open_rows(path, chunk_rows=150)

    model = GaussianMixture(3, random_state=4, **how)
    whole = GaussianMixture(3, random_state=4, **how).fit(rows(), checkpoint=tmp_path / "whole.npz")
    with pytest.MonkeyPatch.context() as patch:
        stopped_at(patch, iteration)
        try:
            model.fit(rows(), checkpoint=tmp_path / "stopped.npz")
        except KeyboardInterrupt:
            assert not hasattr(model, "params_")
    resumed = GaussianMixture(3, random_state=None, **how).fit(rows(), resume=tmp_path / "stopped.npz")
    assert_same_bits(whole, resumed)
    # A third chunking is other rounding and the same fit.
    again = GaussianMixture(3, **how).fit(open_rows(path, chunk_rows=399), resume=tmp_path / "stopped.npz")
    assert again.log_likelihood_ == pytest.approx(whole.log_likelihood_, rel=1e-9)


def test_stopped_twice_and_kept_in_the_same_file(path, tmp_path, monkeypatch):
    whole = GaussianMixture(3, random_state=4).fit(path)
    kept = tmp_path / "c.npz"
    for iteration in (7, 8):
        with monkeypatch.context() as patch:
            stopped_at(patch, iteration)
            with pytest.raises(KeyboardInterrupt):
                GaussianMixture(3, random_state=4).fit(path, checkpoint=kept, resume=kept if kept.exists() else None)
    assert Checkpoint.read(kept).record.state is not None
    assert_same_bits(whole, GaussianMixture(3).fit(path, resume=kept))


def test_an_interrupt_keeps_the_last_parameters(path, tmp_path, monkeypatch):
    heights = []
    with monkeypatch.context() as patch:
        stopped_at(patch, 13)
        with pytest.raises(KeyboardInterrupt):
            GaussianMixture(3, random_state=4, n_init=1).fit(path, checkpoint=tmp_path / "c.npz")
    state = Checkpoint.read(tmp_path / "c.npz").record.state
    assert len(state.trace) == 13  # the start, and twelve iterations that were finished
    heights = np.diff(state.trace)
    assert (heights > -1e-9).all()
    assert list(tmp_path.glob(".c*")) == []


def test_rows_in_memory_can_be_checkpointed_too(X, tmp_path, monkeypatch):
    whole = GaussianMixture(3, random_state=4).fit(X, checkpoint=tmp_path / "a.npz")
    with monkeypatch.context() as patch:
        stopped_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            GaussianMixture(3, random_state=4).fit(X, checkpoint=tmp_path / "b.npz")
    assert_same_bits(whole, GaussianMixture(3).fit(X, resume=tmp_path / "b.npz"))
    plain = GaussianMixture(3, random_state=4).fit(X)
    assert plain.log_likelihood_ == pytest.approx(whole.log_likelihood_, rel=1e-9)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"n_components": 2}, "its n_components is 3, here it is 2"),
        ({"covariance_type": "diag"}, "its covariance_type is full, here it is diag"),
        ({"priors": Priors()}, "its priors is None"),
        ({"means_init": np.zeros((3, 2))}, "its starting values"),
    ],
)
def test_the_checkpoint_of_another_model_is_refused(X, tmp_path, other, words):
    GaussianMixture(3, random_state=4).fit(X, checkpoint=tmp_path / "c.npz")
    with pytest.raises(InvalidParameterError, match=f"checkpoint of another fit: {words}"):
        GaussianMixture(**{"n_components": 3, **other}).fit(X, resume=tmp_path / "c.npz")


def test_the_checkpoint_of_other_data_is_refused(X, tmp_path):
    GaussianMixture(3, random_state=4).fit(X, checkpoint=tmp_path / "c.npz")
    for data, words in ((X[:-1], "total weight of the rows is 400.0, here it is 399"), (X + 1, "smallest values")):
        with pytest.raises(InvalidParameterError, match=words):
            GaussianMixture(3).fit(data, resume=tmp_path / "c.npz")
    with pytest.raises(InvalidParameterError, match="columns"):
        GaussianMixture(3).fit(X[:, :1], resume=tmp_path / "c.npz")


def test_what_is_no_checkpoint_is_refused(X, tmp_path):
    with pytest.raises(InvalidDataError, match="There is no checkpoint"):
        GaussianMixture(3).fit(X, resume=tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    np.savez(tmp_path / "head.npz", head=np.array(json.dumps({"format": "something", "version": 1})))
    np.savez(tmp_path / "pickled.npz", head=np.array([{}], dtype=object))
    for name in ("text", "arrays", "head", "pickled"):
        with pytest.raises(InvalidDataError, match=f"{name}.npz does not hold a checkpoint"):
            GaussianMixture(3).fit(X, resume=tmp_path / f"{name}.npz")
    with pytest.raises(OSError, match="folder"):
        GaussianMixture(3).fit(X, checkpoint=tmp_path)


@pytest.mark.parametrize("kept", [False, True])
def test_verbose_tells_every_iteration_over_all_rows(path, tmp_path, capsys, kept):
    settings = {"random_state": 4, "n_init": 1}
    quiet = GaussianMixture(3, **settings).fit(open_rows(path, chunk_rows=150))
    capsys.readouterr()
    told = GaussianMixture(3, verbose=1, **settings).fit(
        open_rows(path, chunk_rows=150), checkpoint=tmp_path / "kept.npz" if kept else None
    )
    assert_same_bits(quiet, told)
    *lines, last = capsys.readouterr().out.splitlines()
    assert last.startswith("Start 1: ")
    trace = told.log_likelihood_trace_
    assert len(lines) == told.n_iter_ > 3
    for i, line in enumerate(lines, start=1):
        assert line.startswith(f"Run 1, iteration {i}: log-likelihood {trace[i]:.6f}, gain {trace[i] - trace[i - 1]:.3g}, ")


def test_iterations_over_rows_in_memory_are_told(X):
    told = []
    model = GaussianMixture(3, random_state=4).fit(X, on_iteration=told.append)
    assert max(t.log_likelihood for t in told) == pytest.approx(model.log_likelihood_, abs=SAME_HEIGHT * len(X))


def test_runs_are_numbered_and_gains_add_up(path):
    told = []
    model = GaussianMixture(3, random_state=4).fit(open_rows(path, chunk_rows=150), on_iteration=told.append)
    order = [run for i, run in enumerate(t.run for t in told) if i == 0 or told[i - 1].run != run]
    assert order == [*range(1, len(order)), 0]
    assert all(t.seconds > 0 for t in told)
    for run in order:
        these = [t for t in told if t.run == run]
        assert these[-1].log_likelihood - these[0].log_likelihood == pytest.approx(sum(t.gain for t in these[1:]))
    # Of runs that end as high as each other the first is taken.
    assert max(t.log_likelihood for t in told) == pytest.approx(model.log_likelihood_, abs=SAME_HEIGHT * 400)
