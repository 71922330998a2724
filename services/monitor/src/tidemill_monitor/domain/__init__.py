"""The history of a loop: what there is, what came from what, and what each event adds to it."""
