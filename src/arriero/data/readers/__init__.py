"""Readers of sources: what a source holds (source), its files (files), and one reader a format (read.READERS)."""
