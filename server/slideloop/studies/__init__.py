"""The state of a study as the fold of its events, and the order in which things happen."""
