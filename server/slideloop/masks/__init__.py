"""Masks: from predicted cells to pictures and to QuPath's GeoJSON. Knows nothing of learning."""
