"""From a job to a delivered picture: permits, pace, the worker's straight line, and what follows from each answer."""
