"""Pure measures: intervals, trends, text overlap, refusals. Numbers and strings in, numbers out."""
