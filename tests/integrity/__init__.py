"""`verify`, `rebuild` and `doctor`: what they find and repair, and that they find nothing on a healthy queue."""
