"""The minter, against the sandbox's GitLab and keys of an issuer's own."""
