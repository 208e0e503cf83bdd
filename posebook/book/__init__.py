"""The book itself: where it lies (`places`), how it is opened (`lab`)."""
