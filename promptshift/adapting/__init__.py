"""What trainers extend that adapt to every test image: the trainer, its start, steps, stream and answers."""
