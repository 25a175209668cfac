"""Recipes become a graph of stages; the runner makes what is missing."""
