"""Facts about the machine around the software: temperatures, memory, disk, GPUs, power mode, what slows it down."""
