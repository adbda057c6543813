"""Amniotic fluid and the amniotic fluid index from B-mode frames."""
