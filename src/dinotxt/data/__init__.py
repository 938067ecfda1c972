"""Pictures, pairs, labels and masks in; records and arrays out."""
