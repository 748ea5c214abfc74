"""What is a table of numbers: the one place where anything a user gives becomes float64, or is refused."""
