"""Every constant that a verdict rests on, with the experiment that set it; see docs/calibration.md.

The constants of the activations, which `make scan` set, are in `rnncheck.rounding.accuracy`. A test holds both to
the results.
"""

# A single number with a higher score is a mismatch. It stands between the largest score of correct code in
# `make calibrate` and 10, the score from which on `make power` must see every fault.
SCORE_LIMIT = 8.0

# A step row of at least AVERAGE_COUNT numbers with a higher root mean square score is a mismatch. It stands above the
# largest of such rows of correct code in `make calibrate`.
AVERAGE_LIMIT = 1.2
AVERAGE_COUNT = 1000

# Layers of at most so many numbers are checked with all bounds; in larger ones only suspicious rows get theirs.
FEW = 2**14

# A row of a block is suspicious when a score in it is higher: half of the 10 from which `make power` must see every
# fault.
SUSPICIOUS = 5.0

# A row with a higher score is looked at again, with its sums in index order, at n times the cost.
ALARMING = 6.0

# Numbers of a whole run whose noise is a larger share of their signal cannot be judged: SCORE_LIMIT would let pass
# what differs by sixteen per cent of the signal.
UNDECIDABLE_SHARE = 0.02

# Nor can those of a sample whose errors were amplified to more than this many u on the way. Noise is carried from
# step to step as if the errors of different units were independent, but amplified errors line up, and correct code
# then scores far above SCORE_LIMIT; below, `make calibrate` found no such score.
GROWTH_LIMIT = 1000.0
