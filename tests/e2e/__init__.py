"""Whole processes: the sandbox, the agent, the helpers and the tools that use them."""
