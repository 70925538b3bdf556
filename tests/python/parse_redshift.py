"""parse_redshift.py: which of the statements on stdin, a JSON list, sqlfluff's Redshift grammar does not know.

Prints a list of {"statement", "reason"}. SERIALIZETOJSON, an option of COPY that Amazon documents and sqlfluff lacks, is taken out
before; nothing else is.
"""

import json
import re
import sys

from sqlfluff.core import FluffConfig, Linter

import plain

linter = Linter(config=FluffConfig(overrides={"dialect": "redshift", "templater": "raw", "large_file_skip_byte_limit": 0}))


def reason(statement):
    parsed = linter.parse_string(re.sub(r"\bSERIALIZETOJSON\b", "", statement) + "\n")
    if parsed.violations:
        return str(parsed.violations[0].desc())
    return None if parsed.tree is not None else "no tree"


statements = json.load(sys.stdin)
reasons = [(statement, reason(statement)) for statement in dict.fromkeys(statements)]
plain.answer([{"statement": statement, "reason": why} for statement, why in reasons if why])
