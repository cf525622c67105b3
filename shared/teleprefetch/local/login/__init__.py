"""A small OpenID provider for the local stack, so that its readers log in and read with tokens."""
