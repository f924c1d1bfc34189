"""Contracts: what a well-formed fact or query looks like, declared once and compiled for every layer."""
