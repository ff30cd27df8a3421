"""`local/<path or hub id>[:<adapter>]`: transformers models in this process, batched."""
