"""What trainers extend that learn before the test."""
