"""The agents' door: authenticate, decode, call one service or selector, answer."""
