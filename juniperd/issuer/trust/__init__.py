"""What each relying party must be told to trust this issuer, printed ready to apply; one module per party."""
