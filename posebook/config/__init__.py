"""Configs as data: read without being run, changed by words, compared, written. Needs no torch."""

from .config import (MISSING, Config, ConfigDiff, ConfigDict, OptionReader, check_writable,
                     diff_configs, format_value, is_name, keep_type, parse_overrides, parse_value,
                     replace_at, split_options)
from .reader import TEMPLATE, FileReader, merge, plain_copy, read_file
from .safe_eval import (MAX_DEPTH, MAX_FILE, MAX_INT, MAX_ITEMS, MAX_TEXT, MAX_WORK, Budget,
                        ConfigError, Evaluator, count_items)

__all__ = [
    'MAX_DEPTH', 'MAX_FILE', 'MAX_INT', 'MAX_ITEMS', 'MAX_TEXT', 'MAX_WORK', 'MISSING',
    'TEMPLATE', 'Budget', 'Config', 'ConfigDict', 'ConfigDiff', 'ConfigError', 'Evaluator',
    'FileReader', 'OptionReader', 'check_writable', 'count_items', 'diff_configs', 'format_value',
    'is_name', 'keep_type', 'merge', 'parse_overrides', 'parse_value', 'plain_copy', 'read_file',
    'replace_at', 'split_options'
]
