"""The page at ``/docs``: routes and schemas of this endpoint with a form to try them. One file, no outside address.

Everything it shows comes from ``/openapi.json`` and is set as text, never as HTML.
"""

__all__ = ["DOCS_CSP", "DOCS_PAGE"]

DOCS_CSP = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"

DOCS_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Endpoint</title>
<style>
:root { color-scheme: light dark; --line: #8884; --dim: #888; --accent: #0a7; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; }
p { margin: .3rem 0; }
.dim { color: var(--dim); }
details { border: 1px solid var(--line); border-radius: 6px; margin: .6rem 0; padding: .5rem .8rem; }
summary { cursor: pointer; }
.method { display: inline-block; min-width: 3.6rem; font-weight: 600; color: var(--accent); }
code, pre, textarea, input { font: 13px/1.45 ui-monospace, monospace; }
pre { overflow: auto; padding: .6rem; border: 1px solid var(--line); border-radius: 4px; white-space: pre-wrap; }
textarea { width: 100%; min-height: 6.5rem; box-sizing: border-box; }
input { width: 18rem; max-width: 100%; }
button { margin: .4rem 0; padding: .3rem 1rem; }
</style></head><body>
<h1 id="title">Endpoint</h1>
<p id="about" class="dim"></p>
<p><label>Bearer key, if the endpoint wants one: <input id="key" type="password" autocomplete="off"></label></p>
<div id="routes"></div>
<h2>Schemas</h2>
<div id="schemas"></div>
<script>
"use strict";
const make = (tag, text, parent) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.appendChild(node);
  return node;
};
const headers = (body) => {
  const found = body ? { "content-type": "application/json" } : {};
  const key = document.getElementById("key").value;
  if (key) found.authorization = "Bearer " + key;
  return found;
};
const pretty = (text) => { try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; } };
const tryIt = (box, method, path, example) => {
  const area = example === undefined ? null : make("textarea", undefined, box);
  if (area) area.value = JSON.stringify(example, null, 2);
  const button = make("button", "Send", make("div", undefined, box));
  const out = make("pre", "", box);
  out.hidden = true;
  button.onclick = async () => {
    const begun = performance.now();
    const sent = { method, headers: headers(area), body: area ? area.value : undefined };
    out.hidden = false;
    try {
      const answer = await fetch(path, sent);
      const text = await answer.text();
      const ms = (performance.now() - begun).toFixed(0);
      out.textContent = answer.status + "  " + ms + " ms  version " +
        (answer.headers.get("x-model-version") || "none") + "\\n\\n" + pretty(text);
    } catch (error) { out.textContent = "no answer: " + error; }
  };
};
const showRoute = (parent, path, method, route) => {
  const box = make("details", undefined, parent);
  const head = make("summary", undefined, box);
  const name = make("span", method.toUpperCase(), head);
  name.className = "method";
  make("code", path, head);
  make("span", "  " + (route.summary || ""), head).className = "dim";
  if (route.description) make("p", route.description, box);
  const statuses = Object.entries(route.responses || {}).map(([code, r]) => code + " " + r.description);
  make("p", statuses.join(" · "), box).className = "dim";
  const content = route.requestBody && route.requestBody.content["application/json"];
  if (content) box.open = true;
  tryIt(box, method.toUpperCase(), path, content ? content.example : undefined);
};
fetch("openapi.json", { headers: headers() }).then((r) => r.json()).then((api) => {
  document.title = api.info.title;
  document.getElementById("title").textContent = api.info.title;
  document.getElementById("about").textContent = api.info.description || "";
  for (const [path, methods] of Object.entries(api.paths))
    for (const [method, route] of Object.entries(methods))
      showRoute(document.getElementById("routes"), path, method, route);
  for (const [name, schema] of Object.entries((api.components || {}).schemas || {})) {
    const box = make("details", undefined, document.getElementById("schemas"));
    make("code", name, make("summary", undefined, box));
    make("pre", JSON.stringify(schema, null, 2), box);
  }
}).catch((error) => { document.getElementById("about").textContent = "cannot read openapi.json: " + error; });
</script></body></html>
"""
