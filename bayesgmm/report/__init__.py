"""A report of both fits that a person can read and keep: one HTML file, its figures for programs, and the draws."""

from bayesgmm.report.report import Report, build_report
from bayesgmm.underflow import guard

__all__ = ["Report", "build_report"]

guard(globals())
