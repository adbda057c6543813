"""Brain tumours outlined in MR images of which a contrast may be missing: CollaGAN imputes it."""
