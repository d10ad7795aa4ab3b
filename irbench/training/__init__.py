"""How networks learn here: one loop, its schedule, the augmentation on the device and the losses."""
