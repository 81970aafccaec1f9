"""Rules by subject: every function is the rule for the symptom of its name."""
