"""Training: one loop, on pictures or on cached features, that resumes exactly."""
