"""Reports: a result put before people's eyes."""
