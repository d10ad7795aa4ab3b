"""Getting data sets: what is published, downloading, checking and unpacking it."""
