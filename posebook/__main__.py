"""`python -m posebook` is the `posebook` command."""
from posebook.cli import main

raise SystemExit(main())
