"""What is believed: one generative model a file, as a user would write it."""
