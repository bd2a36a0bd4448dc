"""Every constant that a verdict rests on, with the experiment that set it."""

SCORE_LIMIT = 8.0
AVERAGE_LIMIT = 1.1
AVERAGE_COUNT = 1000
SUSPICIOUS = 4.0
UNDECIDABLE_SHARE = 0.02
