"""Is the package as sure as it should be? Judged on simulated data, where the truth is known.

- `benchmarks.calibration.sbc`: parameters are drawn from a fixed, proper prior and data from the parameters; the data are fitted as a user
  would fit them, with the same prior. Then the truth is one more draw from the posterior, so its rank among the posterior's draws must be
  uniform, and an interval that claims 80 % must hold the truth 80 times in 100.
- `benchmarks.calibration.coverage`: the same intervals where truths are fixed by design and priors are the defaults.
- `benchmarks.calibration.reliability`: whether responsibilities from few rows are right as often as they say.

``python -m benchmarks.calibration`` (`make calibrate`) writes all three on a page.
"""
