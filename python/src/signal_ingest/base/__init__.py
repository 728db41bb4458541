"""What everything else is made of: types, errors, JSON, options, the clock."""
