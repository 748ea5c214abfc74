"""Does all that leads from data to posterior say what it should? Judged on data simulated from the prior itself.

Parameters are drawn from a fixed, proper prior and data from the parameters; the data are fitted as a user would fit them, with the same
prior. Then the truth is one more draw from the posterior, so its rank among the posterior's draws must be uniform, and an interval that
claims 80 % must hold the truth 80 times in 100. `calibrate` does this many times and judges the answers. `measure_reliability` asks
whether responsibilities from few rows are right as often as they say. ``python -m bayesgmm.calibration`` writes both on a page.
"""

from bayesgmm.calibration.designs import CONTROLS, DESIGNS, Design
from bayesgmm.calibration.reliability import (
    SMALL_SAMPLES,
    FreshRows,
    Reliability,
    SmallSample,
    measure_reliability,
    run_small_sample,
)
from bayesgmm.calibration.replicate import LEVELS, N_DRAWS, Outcome, run_replicate
from bayesgmm.calibration.run import calibrate
from bayesgmm.calibration.uniformity import Uniformity, envelope, judge_ranks
from bayesgmm.calibration.value import Calibration, Group
from bayesgmm.underflow import guard

__all__ = [
    "CONTROLS",
    "DESIGNS",
    "LEVELS",
    "N_DRAWS",
    "SMALL_SAMPLES",
    "Calibration",
    "Design",
    "FreshRows",
    "Group",
    "Outcome",
    "Reliability",
    "SmallSample",
    "Uniformity",
    "calibrate",
    "envelope",
    "judge_ranks",
    "measure_reliability",
    "run_replicate",
    "run_small_sample",
]

guard(globals())
