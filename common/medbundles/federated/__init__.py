"""Training across hospitals that share no images: MONAI's client algorithm, carried by NVFLARE."""
