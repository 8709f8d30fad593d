"""The words of the public scripts, in those of `promptshift run`:  promptshift run --as FORM TRAINER WORDS..."""

from promptshift.cli.upstream import adapting_forms, class_forms, domain_forms
from promptshift.cli.upstream.forms import FORMS, KEY, Call, calls, help_text, usage_of

__all__ = ["FORMS", "KEY", "Call", "adapting_forms", "calls", "class_forms", "domain_forms", "help_text", "usage_of"]
