"""What the versions of a model are worth: bits per byte, answers, utility, safety, win rates, drift."""
