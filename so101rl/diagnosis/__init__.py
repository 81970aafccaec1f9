"""`job=explain`: why a run is good or bad, and which keys to try next.

A rule checks the facts of a run for one symptom. Its limits and the keys to try are the
symptom's entry in `conf/job/explain.yaml`.
"""
