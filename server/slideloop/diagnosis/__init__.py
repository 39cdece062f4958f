"""What works on this machine, what does not, what to do; imports nothing heavy, changes nothing."""
