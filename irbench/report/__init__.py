"""Tables, figures and pages of results: pure functions of a list of results."""
