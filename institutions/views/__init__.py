"""The pages of this room: authenticate, call one service or selector, answer."""
