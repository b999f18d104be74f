"""Train one GAN."""
