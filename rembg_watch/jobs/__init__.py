"""The job table: one SQLite file that remembers every file, every attempt and every credit."""
