"""Boxes through time: frames, cubes of saliency, linking, key frames."""
