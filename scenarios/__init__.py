"""What is simulated: the typed schema, the YAML data, its loader and importer. Imports nothing of ours."""
