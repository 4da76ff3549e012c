"""Reads. A selector never writes what a decision rests on."""
