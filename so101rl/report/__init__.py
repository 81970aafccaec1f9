"""`job=report`: tables of a study, computed from episodes that lie beside them."""
