"""Human pose estimation as a book that is also the library."""
__version__ = "0.1.0"
