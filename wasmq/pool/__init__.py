"""Worker processes: `pool` decides, `process` spawns and watches, `channel` carries frames."""
