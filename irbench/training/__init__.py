"""The training of networks: one loop, its schedule, the augmentation on the device and the losses."""
