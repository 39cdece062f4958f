"""What is learnt from labels: heads, engines, ranking, sampling. Knows nothing of files."""
