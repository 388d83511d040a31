"""The chapters in plain PyTorch, as a course writes them: each trains a `net`, as the chapter's twin does."""
