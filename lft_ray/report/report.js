"use strict";
(function () {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 34rem)");
  const options = { displayModeBar: false, responsive: true, scrollZoom: false };

  function color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function layout(extra) {
    const axis = {
      gridcolor: color("--line"), linecolor: color("--line"), zeroline: false, automargin: true,
      tickfont: { color: color("--soft"), size: 12 }, title: { font: { color: color("--soft"), size: 13 }, standoff: 12 },
    };
    const base = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
      font: { family: getComputedStyle(document.body).fontFamily, color: color("--ink") },
      margin: { l: narrow.matches ? 44 : 60, r: narrow.matches ? 12 : 28, t: 16, b: 52 }, hovermode: "closest",
      hoverlabel: { bgcolor: color("--card"), bordercolor: color("--line"), font: { color: color("--ink"), size: 13 }, align: "left" },
      dragmode: narrow.matches ? false : "zoom",
    };
    return Object.assign(base, {
      xaxis: Object.assign({}, axis, extra.x, { title: Object.assign({}, axis.title, extra.x.title) }),
      yaxis: Object.assign({}, axis, extra.y, { title: Object.assign({}, axis.title, extra.y.title) }),
    }, extra.rest || {});
  }

  /* Ticks at 1, 2 and 5 of every decade that the points touch: a plain log axis may show a single label. */
  function ticks(values) {
    const low = Math.min(...values) / 1.25, high = Math.max(...values) * 1.25;
    const span = Math.log10(high / low), steps = span > 3 ? [1] : span > 1.6 ? [1, 3] : [1, 2, 5];
    const found = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += 1) {
      for (const step of steps) {
        const value = step * Math.pow(10, e);
        if (value >= low && value <= high) { found.push(value); }
      }
    }
    return { values: found, texts: found.map((v) => "$" + Number(v.toPrecision(2)).toString()), range: [Math.log10(low), Math.log10(high)] };
  }

  function markers(points, style) {
    return Object.assign({
      type: "scatter", mode: "markers", x: points.map((p) => p.usd), y: points.map((p) => p.f1),
      text: points.map((p) => p.hover), hovertemplate: "%{text}<extra></extra>", cliponaxis: false,
    }, style);
  }

  /* Names beside points, the winner's first. A name that would cover a point or another name tries the other sides and
     is left out when none is free: hover and the table below have it. */
  function labels(node, named, points, xRange, yRange) {
    const width = node.clientWidth - (narrow.matches ? 60 : 96), height = node.clientHeight - 68, size = narrow.matches ? 11 : 12;
    const px = (p) => (Math.log10(p.usd) - xRange[0]) / (xRange[1] - xRange[0]) * width;
    const py = (p) => (yRange[1] - p.f1) / (yRange[1] - yRange[0]) * height;
    const taken = points.map((p) => ({ id: p, x0: px(p) - 6, x1: px(p) + 6, y0: py(p) - 6, y1: py(p) + 6 }));
    const notes = [];
    for (const p of named) {
      const name = p.variant ? p.size + " " + p.variant : p.size;
      const wide = name.length * size * (p.winner ? 0.66 : 0.56), tall = size + 4, far = p.winner ? 12 : 8, x = px(p), y = py(p);
      const sides = [
        { x: x - wide / 2, y: y - far - tall, xanchor: "center", yanchor: "bottom", xshift: 0, yshift: far },
        { x: x - wide / 2, y: y + far, xanchor: "center", yanchor: "top", xshift: 0, yshift: -far },
        { x: x + far, y: y - tall / 2, xanchor: "left", yanchor: "middle", xshift: far, yshift: 0 },
        { x: x - far - wide, y: y - tall / 2, xanchor: "right", yanchor: "middle", xshift: -far, yshift: 0 },
        { x: x - far - wide, y: y - far - tall, xanchor: "right", yanchor: "bottom", xshift: -2, yshift: far - 2 },
      ];
      const side = sides.find((s) => s.x > 0 && s.x + wide < width + 16 && s.y > -6 && s.y + tall < height && !taken.some(
        (t) => t.id !== p && s.x < t.x1 && s.x + wide > t.x0 && s.y < t.y1 && s.y + tall > t.y0));
      if (!side) { continue; }
      taken.push({ id: null, x0: side.x, x1: side.x + wide, y0: side.y, y1: side.y + tall });
      const text = escapeText(name);
      notes.push({
        x: Math.log10(p.usd), y: p.f1, text: p.winner ? "<b>" + text + "</b>" : text, showarrow: false, borderpad: 0,
        xanchor: side.xanchor, yanchor: side.yanchor, xshift: side.xshift, yshift: side.yshift,
        font: { size: p.winner ? size + 1.5 : size, color: p.on_front ? color("--ink") : color("--soft") },
      });
    }
    return notes;
  }

  function frontChart() {
    const node = document.getElementById("front-chart");
    const points = data.front.points;
    if (!node || !points.length) { return; }
    const accent = color("--accent"), card = color("--card"), soft = color("--soft");
    const front = points.filter((p) => p.on_front && !p.winner);
    const winner = points.filter((p) => p.winner);
    const rest = points.filter((p) => !p.on_front && !p.on_ladder && !p.winner);
    const off = points.filter((p) => !p.on_front && p.on_ladder && !p.winner);
    const line = points.filter((p) => p.on_front).sort((a, b) => a.usd - b.usd);
    const fresh = data.front.confirmed;
    const x = ticks(points.map((p) => p.usd));
    const named = winner.concat(front, off);
    const scores = points.map((p) => p.f1).concat(fresh.map((p) => p.low));
    const low = Math.min(...scores), high = Math.max(...scores, ...fresh.map((p) => p.high)), pad = Math.max(0.004, (high - low) * 0.14);
    const traces = [
      { type: "scatter", mode: "lines", x: line.map((p) => p.usd), y: line.map((p) => p.f1), hoverinfo: "skip", line: { shape: "hv", color: accent, width: 1.5 }, opacity: 0.6 },
      markers(rest, { marker: { size: 8, color: color("--faded"), opacity: 0.5 } }),
      markers(off, { marker: { size: 10, color: card, line: { color: soft, width: 2 } } }),
      markers(front, { marker: { size: 11, color: accent, line: { color: card, width: 1.5 } } }),
      {
        type: "scatter", mode: "markers", x: fresh.map((p) => p.usd), y: fresh.map((p) => p.f1), cliponaxis: false,
        error_y: { type: "data", symmetric: false, array: fresh.map((p) => p.high - p.f1), arrayminus: fresh.map((p) => p.f1 - p.low), color: accent, thickness: 1.5, width: 5 },
        marker: { symbol: "diamond-open", size: 11, color: accent, line: { width: 2 } },
        text: fresh.map((p) => p.size + (p.variant ? " " + p.variant : "") + "<br>mean of " + p.runs + " fresh seeds " + p.f1.toFixed(4)), hovertemplate: "%{text}<extra></extra>",
      },
      markers(winner, { marker: { size: 18, color: accent, line: { color: card, width: 2.5 } } }),
    ];
    const notes = labels(node, named, points, x.range, [low - pad, high + pad]);
    const shapes = [];
    if (data.front.floor !== null) {
      shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: data.front.floor, y1: data.front.floor, line: { color: soft, width: 1, dash: "dot" } });
      notes.push({ xref: "paper", x: 0, y: data.front.floor, text: "best minus margin", showarrow: false, xanchor: "left", yanchor: "bottom", font: { size: 11.5, color: soft } });
    }
    Plotly.react(node, traces, layout({
      x: { type: "log", range: x.range, tickvals: x.values, ticktext: x.texts, title: { text: "dollars per million predictions" } },
      y: { range: [low - pad, high + pad], tickformat: ".3~f", nticks: 7, title: { text: narrow.matches ? "" : node.dataset.metric } },
      rest: { annotations: notes, shapes: shapes },
    }), options);
  }

  function escapeText(text) {
    return text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
  }

  function curvesChart() {
    const node = document.getElementById("curves-chart");
    if (!node || !data.curves.length) { return; }
    const winners = new Set(data.front.points.filter((p) => p.winner).map((p) => p.trial));
    const traces = data.curves.map((c) => {
      const won = winners.has(c.trial);
      return {
        type: "scatter", mode: "lines+markers", x: c.fraction, y: c.f1, name: c.trial,
        line: { color: won ? color("--accent") : color("--soft"), width: won ? 3 : 1.2, dash: c.status === "done" ? "solid" : "dot" },
        marker: { size: won ? 7 : 4 }, opacity: won ? 1 : 0.45,
        hovertemplate: "<b>" + escapeText(c.size) + "</b>  " + escapeText(c.trial) + "  " + c.status + "<br>F1 %{y:.4f} at %{x:.0%}<extra></extra>",
      };
    });
    /* The untrained start would squeeze everything that follows into a sliver: the view begins with the first scores. */
    const later = data.curves.flatMap((c) => c.f1.filter((f, i) => f !== null && c.fraction[i] > 0));
    const low = Math.min(...later), high = Math.max(...later), pad = Math.max(0.004, (high - low) * 0.08);
    traces.sort((a, b) => a.line.width - b.line.width);
    Plotly.react(node, traces, layout({
      x: { tickformat: ".0%", range: [-0.03, 1.03], title: { text: "fraction of the schedule" } },
      y: { range: later.length ? [low - pad, high + pad] : undefined, tickformat: ".3~f", nticks: 7, title: { text: narrow.matches ? "" : node.dataset.metric } },
    }), options);
  }

  function sortBy(button) {
    const header = button.closest("th"), table = header.closest("table"), body = table.tBodies[0];
    const column = Array.from(header.parentNode.children).indexOf(header);
    const down = header.getAttribute("aria-sort") === "ascending";
    table.querySelectorAll("th[aria-sort]").forEach((th) => th.setAttribute("aria-sort", "none"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => row.children[column].dataset.v;
    const rows = Array.from(body.rows).sort((a, b) => {
      const left = value(a), right = value(b);
      if (left === "" || right === "") { return (left === "") - (right === ""); } /* dashes last, both ways */
      const order = isNaN(left) || isNaN(right) ? left.localeCompare(right, "en", { numeric: true }) : left - right;
      return down ? -order : order;
    });
    body.append(...rows);
  }

  function draw() { frontChart(); curvesChart(); }

  document.querySelectorAll(".no-js").forEach((node) => node.remove());
  document.querySelectorAll("th[aria-sort] button").forEach((b) => b.addEventListener("click", () => sortBy(b)));
  draw();
  dark.addEventListener("change", draw);
  narrow.addEventListener("change", draw);
})();
