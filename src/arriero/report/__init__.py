"""A run as one HTML file: figures with their n and interval, lineage, costs, model card. A view, not a stage."""
