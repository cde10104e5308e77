"""`python -m proxy` is the `homeport` command."""

import sys

from proxy.cli import main

sys.exit(main())
