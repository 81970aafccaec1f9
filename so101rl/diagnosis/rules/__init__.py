"""Rules by subject: each public function is the rule of the symptom with its name."""
