"""What trainers extend that adapt at test time, to single images or along a stream of them."""
