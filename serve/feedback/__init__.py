"""What becomes known of answers after they were given: what users say of them, and how others compare."""
