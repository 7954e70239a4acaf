"""What is done to a whole box: backups, resets, erasure, and what a report of it may show."""
