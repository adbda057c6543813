"""Fetal abdominal and head circumference from one B-mode frame."""
