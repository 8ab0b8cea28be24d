"""The sandbox: each double against the shapes of the real thing, then the whole as processes."""
