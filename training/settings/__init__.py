"""The fields of a run as a user gives them: specs named on a command line, and changes to their fields."""
