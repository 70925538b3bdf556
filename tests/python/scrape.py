"""scrape.py URL: a page of metrics, as the parsers of Prometheus' own Python client read it.

The strict OpenMetrics parser gives {"content_type", "families": {name: {"type", "unit", "help"}}, "samples": {...}},
the samples by name and labels as in the page: {"up{shard=\"s\"}": 1.0}. The parser of the older text format, which some
scrapers still use, must find the same samples.
"""

import json
import sys
import urllib.request

from prometheus_client import parser
from prometheus_client.openmetrics import parser as strict_parser

import plain


def samples(families):
    """Values by name and labels; a sample that comes twice is an error."""
    found = {}
    for family in families:
        for sample in family.samples:
            labels = ",".join(f"{name}={json.dumps(text)}" for name, text in sorted(sample.labels.items()))
            name = f"{sample.name}{{{labels}}}" if labels else sample.name
            if name in found:
                raise ValueError(f"{name} comes twice")
            found[name] = sample.value
    return found


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: scrape.py URL")
    with urllib.request.urlopen(sys.argv[1], timeout=10) as response:
        content_type, page = response.headers["Content-Type"], response.read().decode()
    families = list(strict_parser.text_string_to_metric_families(page))
    strict = samples(families)
    older = samples(parser.text_string_to_metric_families(page))
    if older != strict:
        raise ValueError(f"the two formats disagree: {strict} and {older}")
    described = {family.name: {"type": family.type, "unit": family.unit, "help": family.documentation}
                 for family in families}
    plain.answer({"content_type": content_type, "families": described, "samples": strict})


main()
