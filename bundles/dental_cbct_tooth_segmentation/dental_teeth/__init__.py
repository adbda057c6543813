"""Single teeth in dental cone-beam CT, found on panoramic images of each jaw."""
