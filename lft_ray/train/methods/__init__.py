"""Training methods beside full fine-tuning."""
