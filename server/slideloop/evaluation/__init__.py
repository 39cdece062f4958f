"""Experiments with a simulated expert: truth, measures, pictures."""
