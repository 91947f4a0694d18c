"""Running a pipeline over the regions of a slide."""
