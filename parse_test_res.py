"""Mean and spread over seeds out of run folders: `python parse_test_res.py DIRECTORY`, flags as in CoOp."""

import sys

from promptshift.results.parse_logs import main

if __name__ == "__main__":
    sys.exit(main())
