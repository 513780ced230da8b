"""What `GET /metrics` says, read by the parser of Prometheus's Python client."""

import httpx
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def samples(text: str, *, openmetrics: bool = False) -> Samples:
    """Each sample by its name and labels. Fails if one occurs twice."""
    families = list((parsed_openmetrics if openmetrics else parsed)(text))
    found = [
        (sample.name, frozenset(sample.labels.items()), sample.value) for each in families for sample in each.samples
    ]
    assert len({(name, labels) for name, labels, _ in found}) == len(found)
    return {(name, labels): value for name, labels, value in found}


def scrape(response: httpx.Response) -> Samples:
    """The samples of a response."""
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return samples(response.text)


def value(found: Samples, name: str, **labels: str) -> float | None:
    """The value of the sample with exactly these labels; None if there is none."""
    return found.get((name, frozenset(labels.items())))
