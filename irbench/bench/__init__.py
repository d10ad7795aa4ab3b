"""What the parts cost on this machine, apart from any data set: each module is one `irbench bench` command."""
