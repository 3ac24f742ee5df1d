"""`sinsemi`: many images from one, by a Schroedinger bridge between the scales of its pyramid."""
