"""What several tests share: goldens, small runs, plans, trees of datasets and of results."""
