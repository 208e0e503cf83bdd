"""Tests over a family of parts: the quick round tries its core, the whole run every member, however many they become."""
import pytest


def members(family, core):
    """Names as parameters of a test; those that are not `core` are slow."""
    return [name if name in core else pytest.param(name, marks=pytest.mark.slow) for name in family]
