"""The loop that trains any module, what guards and records it, and how good a model's answers are.

It knows neither files nor configurations; it may import `parts`, `data` and `errors`.
"""
