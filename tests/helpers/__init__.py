"""The helper, in C and in Python: one set of tests for both, against a scripted agent on a real socket."""
