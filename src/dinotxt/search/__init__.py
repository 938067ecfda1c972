"""Search a folder of pictures by words or by a picture; NumPy only."""
