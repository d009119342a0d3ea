"""The program that Serve starts in place of HAProxy: it corrects the configuration, then becomes the real HAProxy.

In: ``launcher.json``, and the arguments that Serve gives to HAProxy. Out: the corrected configuration in the same file.
Runs as a plain file with the standard library alone, since Serve waits for it on every change of replicas. Never
changes a configuration twice: Serve writes it anew before each start.
"""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["BUFFER_BYTES", "PROBE", "Launch", "adapt", "checks", "json_return", "main"]

_REQUEST_ID = "%[req.hdr(x-request-id)]"
PROBE = "lft-probe"
"""Backend of readiness probes: the same replicas, without the fallback and with a shorter wait."""
_PROBE_S = 5
"""Seconds that a replica may take to say that it is ready."""
_FALLBACK = "SERVE_PROXY_ACTOR"
"""Prefix of the name of Serve's slow Python proxy, to which HAProxy sends requests while no replica is up."""


_KINDS = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    414: "request_uri_too_long",
    431: "request_header_fields_too_large",
    503: "service_unavailable",
    505: "http_version_not_supported",
}
MAX_URL_CHARS = 8000
MAX_HEADER_BYTES = 16000
BUFFER_BYTES = 32768
"""HAProxy answers headers that do not fit in plain HTML, so its buffer holds twice of what is accepted."""


_CONTROL = "'[\\x01-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f]'"
"""Control characters but for tab and the ends of lines, which HAProxy lets through and a replica's HTTP library does
not."""
_NO_METHODS_OF_SERVE = (
    "    http-request return status 200 content-type application/grpc hdr grpc-status 12 "
    'hdr grpc-message "Method not found!" if { path,url_dec -i -m beg /ray.serve. }'
)
"""Serve's own methods need no key, and tell the names of its applications, as its own pages do over HTTP."""


class Launch(NamedTuple):
    """``launcher.json``."""

    binary: str
    """Path of the real HAProxy."""
    folder: str
    """Folder with the error files, the last configuration and the record of a stand-in."""
    metrics_port: int
    stats_port: int
    id_pattern: str
    """Regular expression of request ids that a replica accepts."""
    scales_to_zero: bool
    """Whether an endpoint without a replica is asleep, not broken."""


def json_return(status: int, message: str, *, retry: bool = False) -> str:
    """An ``http-request return`` with the body of an error, without its condition."""
    kind = _KINDS[status]
    body = json.dumps({"error": message, "error_type": kind, "request_id": "@"}).replace('"', '\\"')
    return _returned(status, body.replace("@", _REQUEST_ID), " hdr retry-after 1" if retry else "")


def _returned(status: int, escaped_body: str, headers: str = "") -> str:
    return (
        f'    http-request return status {status} content-type application/json lf-string "{escaped_body}" '
        f"hdr x-request-id {_REQUEST_ID}{headers}"
    )


def checks(id_pattern: str) -> list[str]:
    """Rules for every request: one request id, and refusals in our own words.

    A replica would answer some of these in plain text or with an empty body: its HTTP library does, not its app.
    """
    return [
        # Serve would end a request after as many seconds as a client asks for.
        "    http-request del-header x-request-timeout-seconds",
        "    http-request set-header x-request-id %[req.hdr(x-request-id,1)] if { req.hdr_cnt(x-request-id) gt 1 }",
        f"    http-request del-header x-request-id unless {{ req.hdr(x-request-id) -m reg {id_pattern} }}",
        "    http-request set-header x-request-id %[uuid()] unless { req.hdr(x-request-id) -m found }",
        json_return(414, f"the path is longer than {MAX_URL_CHARS} characters")
        + f" if {{ url,length gt {MAX_URL_CHARS} }}",
        json_return(431, f"the headers are longer than {MAX_HEADER_BYTES} bytes")
        + f" if {{ req.hdrs,length gt {MAX_HEADER_BYTES} }}",
        json_return(505, "this version of HTTP is unknown") + " unless { req.ver -m reg ^(1[.][0-9]|2[.]0)$ }",
        json_return(400, "the header host is missing") + " unless { req.hdr(host) -m found } || { req.ver 1.0 }",
        json_return(400, "a header has a control character") + f" if {{ req.hdrs -m reg {_CONTROL} }}",
        json_return(405, "this method is unknown") + " unless { method GET HEAD POST PUT PATCH DELETE OPTIONS }",
        json_return(404, "there is nothing at this path") + " unless { path_beg / }",
        json_return(400, "websockets are not offered") + " if { req.hdr(upgrade) -i websocket }",
        # Serve's own pages: they need no key, and tell the names of its applications. Serve decodes the path, so the
        # rule must read it as Serve does: /%2d/routes is the same page.
        json_return(404, "there is nothing at this path") + " if { path,url_dec -i -m beg /-/ }",
    ]


class _Server(NamedTuple):
    backend: str
    name: str
    address: str


def _servers(lines: list[str]) -> Iterator[_Server]:
    """Servers of Serve's HTTP backends, without its fallback proxy."""
    backend = ""
    for line in lines:
        words = line.split()
        if line and not line[0].isspace() and words:
            backend = words[1] if words[0] == "backend" and len(words) > 1 and words[1].startswith("http-") else ""
        elif backend and len(words) > 2 and words[0] == "server" and not words[1].startswith(_FALLBACK):
            yield _Server(backend, words[1], words[2])


def _probes(servers: list[_Server], launch: Launch) -> list[str]:
    """Rules that answer the health probes without waking a replica and without waiting for one.

    A probe must be fast to be of use: Serve's fallback proxy would hold it until a replica has started, and start one.
    """
    lines = [f"    acl lft_up srv_is_up({server.backend}/{server.name})" for server in servers]
    lines += [
        "    acl lft_up always_false",
        "    acl lft_probe method GET HEAD",
        "    acl lft_live path /health /v2/health/live",
        "    acl lft_ready path /ready /ping /v2/health/ready",
        "    acl lft_kserve path_beg /v2/",
    ]
    live, live_kserve = _returned(200, '{\\"status\\":\\"live\\"}'), _returned(200, '{\\"live\\":true}')
    asleep, asleep_kserve = _returned(200, '{\\"status\\":\\"scaled_to_zero\\"}'), _returned(200, '{\\"ready\\":true}')
    is_asleep = launch.scales_to_zero and not servers
    for body, kserve_body, name in ((live, live_kserve, "lft_live"), (asleep, asleep_kserve, "lft_ready")):
        condition = f"if lft_probe {name}" if is_asleep else f"if lft_probe {name} lft_up"
        if name == "lft_live" or is_asleep:
            lines += [f"{kserve_body} {condition} lft_kserve", f"{body} {condition}"]
        unavailable = json_return(503, "no replica is available", retry=True)
        lines.append(f"{unavailable} if lft_probe {name} !lft_up")
    return lines


def _probe_backend(servers: list[_Server], folder: str) -> list[str]:
    lines = [
        f"backend {PROBE}",
        f"    timeout server {_PROBE_S}s",
        f"    errorfile 504 {folder}/503.http",
    ]
    return lines + [f"    server {s.name} {s.address} track {s.backend}/{s.name}" for s in servers]


def adapt(text: str, launch: Launch) -> str:
    """Correct Serve's configuration of HAProxy.

    HAProxy as configured by Serve shows its metrics and statistics on all interfaces, sends a line for every request to
    the machine's syslog, gives a client an hour to send its headers, returns 500 instead of 503, which clients do not
    retry, and 404 in plain text while it knows no replica. Serve has no settings for these.

    Args:
        text: the configuration that Serve wrote.
        launch: ports, folder, and the kind of endpoint.
    """
    lines = text.splitlines()
    servers = list(_servers(lines))
    result: list[str] = []
    section = ""
    for line in lines:
        if line and not line[0].isspace():
            section = line.strip()
        words = line.split()
        if not _is_dropped(section, words):
            result += _before(section, words, result, servers)
            result.append(_replaced(section, words, line, launch))
            result += _after(section, words, servers, launch)
    if servers:
        result += _probe_backend(servers, launch.folder)
    return "\n".join(result) + "\n"


def _is_dropped(section: str, words: list[str]) -> bool:
    """Whether a line goes: Serve's error page, and all that sends lines about requests to syslog."""
    if words[:1] == ["errorfile"] or (section == "global" and words[:1] == ["log"]):
        return True
    return words[:2] in (["option", "httplog"], ["option", "log-health-checks"])


def _before(section: str, words: list[str], earlier: list[str], servers: list[_Server]) -> list[str]:
    """Lines that go before a line: the route of readiness probes, before every other route."""
    is_route = section.startswith("frontend http_frontend") and words[:1] in (["use_backend"], ["default_backend"])
    if not is_route or not servers or any(f"use_backend {PROBE}" in line for line in earlier):
        return []
    return [f"    use_backend {PROBE} if lft_probe lft_ready lft_up"]


def _replaced(section: str, words: list[str], line: str, launch: Launch) -> str:
    """A line, corrected."""
    if section.startswith("backend default_backend") and words[:2] == ["http-request", "return"]:
        return json_return(503, "the endpoint is starting or recovering", retry=True)
    if section.startswith("backend default_grpc_backend"):
        # While no application is known the endpoint recovers, and a client may ask again.
        return line.replace("grpc-status 5", "grpc-status 14")
    return re.sub(rf"bind \*?:({launch.metrics_port}|{launch.stats_port})$", r"bind 127.0.0.1:\1", line)


def _after(section: str, words: list[str], servers: list[_Server], launch: Launch) -> list[str]:
    """Lines that go after a line."""
    if words[:1] == ["tune.bufsize"]:
        return ["    tune.http.maxhdr 1000"]
    if section == "defaults" and words[:2] == ["timeout", "client"]:
        errors = [f"    errorfile {code} {launch.folder}/{code}.http" for code in sorted(_error_codes(launch.folder))]
        return ["    timeout http-request 30s", "    timeout check 3s", *errors]
    if section.startswith("frontend http_frontend") and words[:1] == ["bind"]:
        return [*checks(launch.id_pattern), *_probes(servers, launch)]
    if section.startswith("frontend grpc_frontend") and words[:1] == ["bind"]:
        return [_NO_METHODS_OF_SERVE]
    return []


def _error_codes(folder: str) -> Iterator[int]:
    for path in Path(folder).glob("*.http"):
        if path.stem.isdigit() and path.parent == Path(folder):
            yield int(path.stem)


def _stand_in(folder: str) -> list[str]:
    """Process id of the HAProxy that holds the port until Serve's own is up; empty without one."""
    try:
        pid = int((Path(folder) / "stand-in.pid").read_text(encoding="ascii"))
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return []
    return [str(pid)] if any(word.startswith(os.fsencode(folder)) for word in command) else []


def main(arguments: list[str]) -> None:
    """Correct the configuration after ``-f``, and become HAProxy. Ends the stand-in, whose port it takes over."""
    launch = Launch(**json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    given = arguments[1:]
    config = Path(given[given.index("-f") + 1])
    text = config.read_text(encoding="utf-8")
    last = Path(launch.folder) / "last.cfg"
    stand_in = _stand_in(launch.folder)
    if stand_in and not list(_servers(text.splitlines())) and last.exists():
        # A new manager of Serve knows no replica for its first second; those of its predecessor are still there.
        adapted = last.read_text(encoding="utf-8")
    else:
        adapted = adapt(text, launch)
    _write(config, adapted)
    if list(_servers(adapted.splitlines())):
        _write(last, adapted)
    takeover = ["-sf", *stand_in] if stand_in else []
    if stand_in and "-x" not in given:
        # Its open sockets: a port that is closed and bound again refuses connections for a moment.
        takeover += ["-x", str(Path(launch.folder) / "stand-in.sock")]
    os.execv(launch.binary, [launch.binary, *given, *takeover])


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    main(sys.argv[1:])
