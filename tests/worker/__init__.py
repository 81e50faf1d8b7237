"""The worker and compile processes, driven over their frames by nothing but the frames."""
