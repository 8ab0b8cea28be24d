"""What we hand out: wheels, source, manual."""
