"""Pixels to boxes: frozen networks, saliency maps, box rules."""
