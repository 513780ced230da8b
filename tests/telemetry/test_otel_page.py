"""docs/otel.md names exactly the attributes of spans, and its commands compute the ids that are exported."""

import re
import subprocess
from pathlib import Path

from aorch.span_ids import span_id_of, trace_id_of
from aorch.telemetry import span_names

PAGE = (Path(__file__).parents[2] / "docs/otel.md").read_text()


def test_the_page_lists_every_attribute() -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", PAGE, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`([a-z_.]+\.[a-z_.]+)`", row)}
    assert listed == {value for name, value in vars(span_names).items() if name.isupper() and "." in str(value)}


def test_the_commands_of_the_page_compute_the_ids() -> None:
    contract_id = "01KFV70HW83SYH1HAX57ZG0001"
    commands = re.findall(r"^\$ (printf .*?)  +#", PAGE, re.MULTILINE)
    printed = [subprocess.run(["sh", "-c", each], capture_output=True, text=True).stdout.strip() for each in commands]
    assert printed == [trace_id_of(contract_id).hex(), span_id_of(contract_id).hex()]
