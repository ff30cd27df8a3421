"""What a report says, question by question."""
