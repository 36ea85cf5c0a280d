"""Behaviours that hold across several routes."""
