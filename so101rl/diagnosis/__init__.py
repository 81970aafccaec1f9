"""`job=explain`: why a run is good or bad, and which keys to try next.

A rule checks the facts of a run for one symptom. The symptom's entry in
`conf/job/explain.yaml` holds the limits of the rule and the keys to try.
"""
