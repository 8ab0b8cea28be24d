"""What we check of each tool's set-up."""
