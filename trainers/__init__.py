"""One file per paper; importing this package registers every trainer in it."""
from promptshift.discovery import import_modules

import_modules(__name__)
