"""The issuer: verifies, asks GitLab, decides, signs, remembers. Sealed from the agent."""
