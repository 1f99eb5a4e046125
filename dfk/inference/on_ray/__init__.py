"""Scores any number of images on Ray: parts of the list go through Ray Data, one model an actor.

The list is written down first, in parts. Each part is a job of Ray Data: read, scored by a pool of
actors, written aside, counted, and then renamed into the output folder. So a part is there
whole or not at all, and a call that was killed loses no more than the part that it was at.
"""

from dfk.inference.on_ray.cluster import connected
from dfk.inference.on_ray.output_folder import Outcome
from dfk.inference.on_ray.scoring import Scorer, score

__all__ = ["Outcome", "Scorer", "connected", "score"]
