"""`verify`, `rebuild` and `doctor`: what they find, what they mend, and that they find nothing where all is well."""
