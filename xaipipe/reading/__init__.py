"""Slides that are read in processes of their own: what a broken file does to its reader it cannot do to a run.

A reader process loads the plugins that have `open_slide`, opens the slide and answers requests for boxes of it.
Requests and answers are small JSON messages over a socket; pixels lie in memory that both processes see. A process that
crashes, takes too long or takes too much memory is ended and replaced, and its request is tried once more.

`worker` is the reader's side, and imports nothing that needs torch. `process` is the other end of one reader, `guarded`
the slide that a run sees.
"""
