"""The design's budgets, measured on this machine; nothing here is a test with a time limit."""
