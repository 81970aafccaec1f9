"""Facts, kinematics and actions of the SO-101."""
