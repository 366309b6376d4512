"""Sends ranges through a demo and asks a Prometheus that scrapes it.

Checks that /metrics tells what docs/metrics.md lists and nothing else, that every query of the
dashboard has an answer, and that Prometheus can evaluate every alert and fires none.
"""

import json
import re
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

PATIENCE_SECONDS = 60
RANGES = 20
NAME = re.compile(r"\b(?:fmnist|request)_[a-z_]+\b")


def get(url):
    with urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def wait_for(what, condition):
    """Asks until there is an answer that is not None; the answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            answer = condition()
        except URLError:
            answer = None
        if answer is not None:
            return answer
        time.sleep(0.2)
    sys.exit(f"within {PATIENCE_SECONDS} s not true: {what}")


def same(what, expected, found):
    if expected != found:
        sys.exit(f"{what}: missing {sorted(expected - found)}, unexpected {sorted(found - expected)}")


# What comes with a candidate, or after a thousand images; the tests of the front end see these.
LATER = {
    "fmnist_drift_index",
    "fmnist_shadow_disagreements_total",
    "fmnist_shadow_time_ratio",
    "fmnist_unusual_inputs",
}


def main(demo, prometheus, metrics_file):
    def ask(path, **parameters):
        answer = json.loads(get(f"{prometheus}/api/v1/{path}?{urlencode(parameters)}"))
        return answer["data"]

    def query(expression):
        return ask("query", query=expression)["result"]

    for broker in ["kafka", "pubsub"]:
        for start in range(RANGES):
            get(f"{demo}/{broker}/push-to-consumer?start_idx={start}&end_idx={start + 5}")
    settled = 'sum(fmnist_messages_settled_total{outcome="published"})'
    wait_for(
        f"{2 * RANGES} results in Prometheus, and the lag",
        lambda: query(f"{settled} == {2 * RANGES} and on() sum(fmnist_lag_messages) == 0") or None,
    )

    text = get(f"{demo}/metrics")
    Path(metrics_file).write_text(text)
    told = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    listed = set(re.findall(r"^\| `(\w+)` \| (?:counter|gauge|histogram)", documented(), re.MULTILINE))
    same("docs/metrics.md and /metrics", listed - LATER, told)

    queries = dashboard_queries()
    stored = set(ask("label/__name__/values"))
    used = set(NAME.findall(" ".join(queries) + Path("deploy/prometheus/alerts.yml").read_text()))
    same("metrics of dashboard and alerts that Prometheus has", used - LATER, used & stored)
    for expression in queries:
        wait_for(f"an answer to {expression}", lambda e=expression: query(e) or None)

    rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    broken = [rule["name"] for rule in rules if rule["health"] != "ok"]
    firing = [rule["name"] for rule in rules if rule["state"] != "inactive"]
    if not rules or broken or firing:
        sys.exit(f"{len(rules)} alerts, broken: {broken}, not quiet: {firing}")
    print(f"{len(told)} metrics as documented, {len(queries)} queries answered, {len(rules)} alerts quiet")


def documented():
    return Path("docs/metrics.md").read_text()


def dashboard_queries():
    """What Grafana would ask, with its variables filled in."""
    dashboard = json.loads(Path("deploy/grafana/dashboard.json").read_text())
    filled = {"$__rate_interval": "30s", "$instance": ".*", "$transport": ".*"}
    queries = []
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in filled.items():
                expression = expression.replace(variable, value)
            queries.append(expression)
    return queries


if __name__ == "__main__":
    main(*sys.argv[1:])
