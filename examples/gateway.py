"""Writes and reads through the gateway with Python's standard library alone.

Needs GATEWAY_URL and GATEWAY_TOKEN (docs/gateway.md).
"""

import json
import os
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

URL = os.environ["GATEWAY_URL"]
TOKEN = os.environ["GATEWAY_TOKEN"]


def call(method, path, body=None, content_type="application/json"):
    """The body of the answer. Raises RuntimeError with the code of a problem."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": content_type}
    try:
        with urlopen(Request(URL + path, body, headers, method=method), timeout=60) as answer:
            return answer.read()
    except HTTPError as error:
        problem = json.load(error)
        raise RuntimeError(f"{problem['code']}: {problem['detail']}") from error


def put(id, content):
    body = json.dumps(content).encode()
    return json.loads(call("PUT", f"/v1/items/{quote(id, safe='')}?wait=settled", body))


def get(id):
    return json.loads(call("GET", f"/v1/items/{quote(id, safe='')}"))


def put_all(items):
    """An item a line, and an outcome a line."""
    lines = "".join(json.dumps({"id": id, "content": content}) + "\n" for id, content in items.items())
    answer = call("POST", "/v1/items:batch?wait=settled", lines.encode(), "application/x-ndjson")
    return [json.loads(line) for line in answer.splitlines()]


def scan(prefix):
    """Every item whose id begins with the prefix, page by page."""
    after = ""
    while True:
        page = json.loads(call("GET", f"/v1/items?prefix={quote(prefix, safe='')}&limit=100{after}"))
        yield from page["items"]
        if "next" not in page:
            return
        after = f"&after={quote(page['next'])}"


if __name__ == "__main__":
    print(put("python/ä", {"name": "Ann"})["status"], get("python/ä"))
    print([outcome["status"] for outcome in put_all({f"python.{n}": n for n in range(250)})].count("applied"))
    print(sum(item["content"] for item in scan("python.")))
    try:
        get("python.none")
    except RuntimeError as error:
        print(error)
