"""Training of the backend's own small backbone by distillation from a larger one."""
