"""The command line: one file a verb. Verbs import what they need when they run."""
