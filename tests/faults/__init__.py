"""What happens when one of our programs dies at any moment, and when the disk or an upstream fails."""
