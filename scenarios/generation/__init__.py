"""New initial states: asked of a model or composed, checked, written, with a card."""
