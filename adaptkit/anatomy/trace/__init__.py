"""Forwards without weights or data, written down: who calls whom on which tensor."""
