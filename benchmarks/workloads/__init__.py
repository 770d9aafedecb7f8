"""One module for each benchmark; its function returns rows of the table."""
