"""Bearer tokens: what is accepted, from whom, and what it allows.

A Lambda with one second for everything imports this package, so it needs the standard library,
joserfc and `teleprefetch.errors` alone.
"""
