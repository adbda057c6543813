"""Simulators with exact truth."""
