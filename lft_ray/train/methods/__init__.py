"""Training methods: how a loop job is trained, beyond plain full fine-tuning."""
