"""Loss, tasks, statistics, intervals."""
