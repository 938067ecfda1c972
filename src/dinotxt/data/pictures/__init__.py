"""Pictures: decoding, transforms, random views."""
