"""WebAssembly components: what they are, how values cross into them, how they run. Names only."""
