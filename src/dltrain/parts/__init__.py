"""What a configuration can name, a file a kind: models, losses, optimizers, schedules, regularisers, augmentation.

Each knows torch and its own subject, and no other part; it may import `data` and `errors`.
"""
