"""Files as people have them: text in any encoding, tables, conversations in cells, YAML; whole writing."""
