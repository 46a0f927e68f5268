"""Reading files of rows: tables, and what their cells hold."""
