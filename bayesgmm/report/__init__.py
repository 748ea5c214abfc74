"""A report of both fits that a person can read and keep: one HTML file, its figures for programs, and the draws."""

from bayesgmm.report.build import build_report
from bayesgmm.report.value import Report
from bayesgmm.underflow import guard

__all__ = ["Report", "build_report"]

guard(globals())
