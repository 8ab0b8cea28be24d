"""A whole small company on loopback: identity provider, GitLab, AWS, an issuer and an agent.

Sealed: nothing here imports another part of Juniper, and no other part imports this; the programs that a
sandbox starts are started as a person would start them.
"""
