"""What a workspace holds and whether it adds up (`ich status`), and the life of one slice; nothing is written."""
