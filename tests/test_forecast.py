"""How long sampling will take: on a clock of our own, what is said beforehand against what it then took."""

import io
import re
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

import bayesgmm as bg
from bayesgmm.bayes import hmc
from bayesgmm.bayes.draws import FEWEST
from bayesgmm.bayes.forecast import Forecast, Pace
from bayesgmm.cli.options import Data, Model, Sampling
from bayesgmm.cli.steps import command_line
from bayesgmm.estimators._size import LONG, TimeAdvice
from bayesgmm.exceptions import ConvergenceWarning, SizeAdvice
from bayesgmm.progress import counter


class Clock:
    """A clock that goes on as chains run: a cycle along the rows takes ten times as long as one given labels, the first round a minute."""

    def __init__(self, monkeypatch, seconds):
        self.now, self.seconds, self.first, self.lock = 1000.0, seconds, 60.0, threading.Lock()
        for module in ("hmc", "rounds", "forecast"):
            monkeypatch.setattr(f"bayesgmm.bayes.{module}.time", SimpleNamespace(perf_counter=lambda: self.now))
        run = hmc._Chain.run

        def clocked(chain, road, draws, thin, **how):
            with self.lock:
                cost = (1.0 if road.labels else 0.0) + (10.0 if road.rows else 0.0)
                self.now += self.first + 0.25 * cost * self.seconds * draws * thin
                self.first = 0.0
            return run(chain, road, draws, thin, **how)

        monkeypatch.setattr(hmc._Chain, "run", clocked)


@pytest.fixture
def overlapping():
    """Groups that overlap, so that labels alone don't move: chains take the long road."""
    rng = np.random.default_rng(5)
    return rng.normal(size=(120, 2)) + 2.5 * (rng.random(120) < 0.4)[:, None]


def fit(X, **changes):
    how = {"draws": 300, "tune": 80, "cores": 1, "random_state": 1, "progressbar": False} | changes
    return bg.BayesianGaussianMixture(2, **how).fit(X)


def recorded(X, **changes):
    """A fit, and what was said of time during it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = fit(X, **changes)
    return found, [str(one.message) for one in caught if issubclass(one.category, SizeAdvice)], caught


def in_seconds(text):
    """The length of time that a sentence says first."""
    number, unit = re.search(r"(?:about|at least) ([\d.,]+) (second|minute|hour|day)", text).groups()
    return float(number.replace(",", "")) * {"second": 1, "minute": 60, "hour": 3600, "day": 86400}[unit]


@pytest.mark.parametrize("where", ["apart", "overlapping"])
def test_what_is_said_is_what_it_takes(where, faithful, overlapping, monkeypatch):
    X = faithful if where == "apart" else overlapping
    heard = []
    listen = TimeAdvice.__call__
    monkeypatch.setattr(TimeAdvice, "__call__", lambda self, forecast: (heard.append(forecast), listen(self, forecast)))
    clock = Clock(monkeypatch, 0.3)
    posterior, said, _ = recorded(X)
    took = clock.now - 1000.0
    assert posterior.datatree_.attrs["sampling_time"] == took
    assert {forecast.is_least for forecast in heard} == {True, False}
    for forecast in heard:
        assert forecast.total <= 1.001 * took if forecast.is_least else forecast.total == pytest.approx(took, rel=0.01)
    assert heard[-1].left == 0.0
    assert 1 <= len(said) <= 2
    assert in_seconds(said[0]) < 1.05 * took
    assert took / 2 < in_seconds(said[-1]) < 2 * took
    assert f": 11 parameters, {len(X)} rows. " in said[0]
    assert said[0].endswith("Quicker are covariance_type='diag', sampler='laplace' and GaussianMixture")
    if where == "overlapping":  # a draw costs ten times what the warm-up showed at first, and that is said when it is known
        assert posterior.datatree_.attrs["length_given_rows"] > 0
        assert len(said) == 2
        limit, kept = re.search(r"max_time=(\d+) would end it with about (\d+) of 300 draws a chain", said[-1]).groups()
        clock.first = 60.0
        shorter, _, _ = recorded(X, max_time=float(limit))
        assert shorter.params_.batch_shape[1] == pytest.approx(int(kept), rel=0.1)


def test_nothing_is_said_where_it_is_quick(faithful, monkeypatch):
    assert recorded(faithful)[1] == []
    # Nor where a limit ends it soon enough.
    Clock(monkeypatch, 0.3).first = 0.0
    assert recorded(faithful, max_time=LONG / 2)[1] == []


def test_time_that_is_up_is_said_with_what_it_would_take(overlapping, monkeypatch):
    clock = Clock(monkeypatch, 0.3)
    recorded(overlapping)
    took = clock.now - 1000.0
    clock.first = 60.0
    cut, _, caught = recorded(overlapping, max_time=took / 2)
    draws = cut.params_.batch_shape[1]
    assert FEWEST < draws < 300
    (sentence,) = (str(one.message) for one in caught if one.category is ConvergenceWarning)
    assert f"sampling had no more time (max_time); {draws} draws of 4 chains were kept; all would take about" in sentence
    assert "Quicker are covariance_type='diag', sampler='laplace' and GaussianMixture. " in sentence
    assert in_seconds(sentence) == pytest.approx(took, rel=0.05)


def test_a_limit_that_the_warm_up_exceeds(overlapping, monkeypatch):
    Clock(monkeypatch, 0.3)
    cut, _, caught = recorded(overlapping, max_time=61.0)
    assert cut.params_.batch_shape[1] == FEWEST
    (sentence,) = (str(one.message) for one in caught if one.category is ConvergenceWarning)
    assert (
        "had no more time (max_time), not even for its warm-up; 4 draws of 4 chains were kept; all would take at least" in sentence
    )
    assert not cut.diagnose()[0].passed


def test_the_first_round_tells_nothing():
    pace = Pace(50, 100, 0.0)
    pace.lap("short", 500.0, 20, 1, adapting=True)
    assert pace.forecast() is None
    pace.lap("short", 2.0, 10, 1, adapting=True)
    assert pace.forecast() is None
    pace.lap("short", 2.0, 10, 1, adapting=True)
    pace.lap("long", 50.0, 5, 1, adapting=True)
    forecast = pace.forecast()
    assert (forecast.left, forecast.is_least) == (pytest.approx(0.2 * (5 + 100)), True)
    pace.lap("long", 100.0, 4, 2, adapting=False)  # too few to know better
    assert pace.forecast().is_least
    pace.lap("long", 300.0, 8, 2, adapting=False)
    forecast = pace.forecast()
    assert (forecast.left, forecast.per_draw) == (pytest.approx(400.0 / 12 * 88), pytest.approx(400.0 / 12))
    assert not forecast.is_least


class TestAdvice:
    @staticmethod
    def said(*forecasts, max_time=None, kind="full"):
        advice = TimeAdvice(kind, 500, 10_000, max_time)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for forecast in forecasts:
                advice(forecast)
        return [str(one.message) for one in caught]

    @staticmethod
    def at(total, *, past=20.0, least=False):
        return Forecast(past, total - past, 1000, 0, (total - past) / 1000, least)

    def test_it_is_said_once(self):
        assert len(self.said(*[self.at(420.0, least=True)] * 5, *[self.at(420.0, past=60.0)] * 5)) == 1

    @pytest.mark.parametrize("truth", [100.0, 20_000.0])
    def test_and_again_if_it_was_far_off(self, truth):
        said = self.said(self.at(420.0, least=True), self.at(truth, past=60.0), self.at(420.0, past=60.0))
        assert said[0].startswith("Sampling will take at least about 7 minutes: 500 parameters, 10,000 rows. ")
        assert in_seconds(said[1]) == pytest.approx(truth, rel=0.05)
        assert len(said) == 2

    def test_what_a_limit_keeps(self):
        (said,) = self.said(self.at(420.0))
        assert "about 7 minutes, 20 seconds of which are over: " in said
        assert "max_time=120 would end it with about 250 of 1,000 draws a chain. " in said  # 100 of 400 seconds of drawing
        (said,) = self.said(self.at(420.0), max_time=100.0)
        assert said.startswith("Sampling will take about 1.7 minutes")
        assert "max_time=100 ends it with about 200 of 1,000 draws a chain. " in said
        (said,) = self.said(self.at(100.0), max_time=200.0)
        assert "max_time" not in said

    @pytest.mark.parametrize("kind", ["tied", "diag", "spherical"])
    def test_simpler_covariances_are_no_advice_for_simple_ones(self, kind):
        assert self.said(self.at(420.0), kind=kind)[0].endswith(". Quicker are sampler='laplace' and GaussianMixture")


def test_the_bar_shows_what_is_known_of_the_time_left(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("rich.console.Console", lambda **how: Console(file=stream, force_terminal=True, width=120))
    with counter("Sampling", shown=True) as tell:
        tell(300, 1400, 3723.0)
    assert "300/1400" in stream.getvalue()
    assert "1:02:03" in stream.getvalue()


def test_a_limit_on_the_command_line():
    words = command_line(Data("faithful"), (2,), Model(2, random_state=7), Sampling(max_time=90.0), "both").split()
    assert words[words.index("--max-time") + 1] == "90"
    with pytest.raises(Exception, match="--max-time is for the posterior"):
        Sampling(max_time=90.0).refuse()
