"""What moves: simulated and real arms behind one seam."""
