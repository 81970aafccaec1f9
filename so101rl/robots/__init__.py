"""What any robot tells of itself, and the SO-101."""
