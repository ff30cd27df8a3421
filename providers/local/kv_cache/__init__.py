"""Keys and values: of the rows of a batch, and kept from call to call."""
