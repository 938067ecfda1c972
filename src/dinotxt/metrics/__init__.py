"""Arrays in, numbers out: accuracy, recall, confusion and their bootstrap intervals."""
