"""What runs in vLLM's own processes: the parent that ends them, and LoRA and seeds on processors."""
