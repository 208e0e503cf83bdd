"""Test kits for parts of your own: what every part promises, tried, with a report."""
from posebook.testing.codecs import CodecReport, check_codec

__all__ = ['CodecReport', 'check_codec']
