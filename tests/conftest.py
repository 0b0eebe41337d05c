"""How Hypothesis behaves here.

The gate tries the same examples each time, so that what fails there fails again; a slow moment is no finding.
New ones are tried by `pytest tests --hypothesis-profile=explore`, and by `make fuzz`.
"""

from hypothesis import settings

settings.register_profile("gate", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile("gate")
