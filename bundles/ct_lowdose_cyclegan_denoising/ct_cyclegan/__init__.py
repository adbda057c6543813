"""Low-dose CT at routine-dose noise, by a CycleGAN that never saw a pair."""
