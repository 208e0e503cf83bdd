"""Recipes: all numbers of a training in one place (`posebook.engine.recipes.mini`)."""
