"""What the components cost on this machine, independent of data sets: each module is one `irbench bench` command."""
