"""What is looked at slice by slice: examples, errors, likely label errors, subgroups."""
