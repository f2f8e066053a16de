"""Measuring routers on stored outcomes: tables and benchmarks in, figures and reports out."""
