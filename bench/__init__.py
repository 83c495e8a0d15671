"""Benchmarks and load tests: ``python -m bench CASE``.

One harness (``rounds``), subjects in processes of their own (``worker``, ``subjects/``), cases as small files (``cases/``), one
report (``report``) from which JSON, tables and plots are made. Invariants: subjects of one run work on the same data, have
given the same answers before the first of them is timed, and take turns in shuffled rounds, so that a noisy machine treats
them alike. Nothing in ``featurestore`` imports this package.
"""
