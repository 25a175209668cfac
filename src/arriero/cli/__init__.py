"""The command line: one small file per verb; parses, calls, prints."""
