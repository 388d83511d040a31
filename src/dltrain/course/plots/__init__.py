"""Pictures that only chapters of the course draw; what a run's report shows as well stands in insight/plots."""
