"""Sweeps as data: from a study file to points, and from their results to tables."""
