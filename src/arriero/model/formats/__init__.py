"""Other projects' model files: their names and layouts, to and from ours."""
