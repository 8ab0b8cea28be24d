"""Coverage-guided fuzzing: what arrives from outside, read by our own readers; ``make fuzz`` runs it long."""
