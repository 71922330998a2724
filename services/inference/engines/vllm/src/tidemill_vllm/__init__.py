"""What runs in vLLM's own processes: the parent that ends them, and LoRA on processors."""
