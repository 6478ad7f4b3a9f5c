"""What the chapters run: seeded, offline, sized for two CPU cores."""
