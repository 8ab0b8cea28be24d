"""What we write into each tool's files, and how we undo it."""
