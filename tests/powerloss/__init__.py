"""Power cuts: a queue's writes are recorded, and the disks that a cut could leave behind are opened and checked."""
