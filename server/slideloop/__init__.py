"""slideloop: annotate a whole slide by judging a few hundred patches."""

__version__ = "0.1.0"
