"""How a training run's log speaks to programs: lines that start with one of these words, then JSON.

``LAMBDA_DL_PROGRESS`` comes at every change of the search, ``LAMBDA_DL_RESULT`` once, as the last line.
It knows the two words only, so that a sensor can read them without Ray.
"""

PROGRESS = "LAMBDA_DL_PROGRESS"
RESULT = "LAMBDA_DL_RESULT"
