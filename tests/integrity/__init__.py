"""`verify`, `rebuild`, `audit` and `doctor`: their findings and repairs, and that a healthy queue has no finding."""
