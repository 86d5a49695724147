/* The grid: a real table with a button in each cell, one tab stop, arrow keys. The page's other parts: elements as the
   server describes them. Text is set as text, never as HTML. */
(function () {
  "use strict";
  const words = { queued: "queued", running: "running", finished: "finished", failed: "failed", pruned: "pruned", stopped: "stopped" };
  let shape = "";
  let buttons = [];
  let rows = [];
  let sets = [];
  let snapshot = null;
  let current = [0, 0];
  let chosen = null;
  const filters = { text: "", state: "all" };
  let selected = null;
  let restored = false;

  /* The address says what is shown, so that a link opens the same view. */
  function remember() {
    if (!restored) return;
    const address = new URL(location.href), given = address.searchParams;
    for (const [name, value] of [["show", filters.text], ["state", filters.state === "all" ? "" : filters.state]]) {
      if (value) given.set(name, value); else given.delete(name);
    }
    given.delete("cell");
    for (const part of selected || []) given.append("cell", part);
    if (address.href !== location.href) history.replaceState(history.state, "", address);
  }

  function restore() {
    const given = new URL(location.href).searchParams;
    const text = given.get("show") || "", cell = given.getAll("cell");
    press(given.get("state") || "all");
    filters.text = text;
    restored = true;
    if (text) window.dash_clientside.set_props("filter-text", { value: text });
    if (cell.length !== 3) return "";
    const r = snapshot.rows.findIndex((row) => row[0] === cell[0] && row[1] === cell[1]);
    const button = buttons[r] && buttons[r][snapshot.columns.indexOf(cell[2])];
    if (!button) return "This sweep has no cell " + cell.join(", ") + ". ";
    stop(button.place);
    choose(button);
    return "";
  }

  function press(state) {
    for (const button of document.querySelectorAll("#filter-state button")) button.setAttribute("aria-pressed", String(button.textContent === state));
    filters.state = state;
  }

  function element(tag, parent, text) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  function build(place) {
    const table = document.createElement("table");
    table.setAttribute("role", "grid");
    table.setAttribute("aria-label", "Trials: data set and loss by γ");
    const columns = element("colgroup", table);
    const narrow = window.innerWidth < 640;
    element("col", columns).style.width = narrow ? "9rem" : "15rem";
    const longest = Math.max(...snapshot.columns.map((c) => c.length), 4);
    for (let i = 0; i < snapshot.columns.length; i++) element("col", columns).style.width = longest > 7 ? "5.4rem" : "4.6rem";
    const head = element("tr", element("thead", table));
    element("th", head, "loss").scope = "col";
    for (const column of snapshot.columns) element("th", head, column).scope = "col";
    buttons = []; rows = []; sets = [];
    let body = null, last = null;
    snapshot.rows.forEach(function ([dataset, loss], r) {
      if (dataset !== last || !body) {
        body = element("tbody", table);
        const line = element("tr", body);
        line.className = "set";
        const name = element("th", line);
        name.colSpan = snapshot.columns.length + 1;
        name.scope = "rowgroup";
        element("span", name, dataset).title = dataset;
        sets.push({ line: line, rows: [] });
        last = dataset;
      }
      const line = element("tr", body);
      const name = element("th", line);
      name.scope = "row";
      const words = element("span", name);
      words.title = loss;
      loss.split(/(?<=[_=,])/).forEach(function (part) { words.append(part, document.createElement("wbr")); });
      const own = [];
      for (let c = 0; c < snapshot.columns.length; c++) { own.push(null); element("td", line); }
      buttons.push(own);
      rows.push({ line: line, key: (dataset + " " + loss).toLowerCase() });
      sets[sets.length - 1].rows.push(r);
    });
    for (const [r, c] of snapshot.cells) {
      const button = element("button", rows[r].line.cells[c + 1]);
      button.type = "button";
      button.tabIndex = -1;
      button.place = [r, c];
      buttons[r][c] = button;
    }
    table.addEventListener("click", function (event) {
      const button = event.target.closest("button");
      if (button) choose(button);
    });
    table.addEventListener("keydown", move);
    table.addEventListener("focusin", function (event) { if (event.target.place) stop(event.target.place); });
    place.replaceChildren(table);
    current = snapshot.cells.length ? snapshot.cells[0].slice(0, 2) : [0, 0];
    stop(current);
  }

  function update() {
    for (const [r, c, state, text, shade, extra] of snapshot.cells) {
      const button = buttons[r][c];
      const key = state + "|" + text + "|" + shade + "|" + extra;
      if (button.known === key) continue;
      button.known = key;
      button.state = state;
      button.textContent = text;
      button.className = shade >= 0 ? state + " s" + shade : state;
      if (shade >= 0 && state !== "finished") button.className = state;
      const [dataset, loss] = snapshot.rows[r];
      const column = snapshot.columns[c];
      const gamma = column === "no γ" ? "" : ", γ " + column;
      const value = state === "finished" && text && !extra ? ", validation DSC " + text : "";
      button.setAttribute("aria-label", dataset + ", " + loss + gamma + ": " + words[state] + value + (extra ? "; " + extra : ""));
      button.title = words[state] + (extra ? ": " + extra : value);
    }
  }

  function stop(place) {
    const old = buttons[current[0]] && buttons[current[0]][current[1]];
    if (old) old.tabIndex = -1;
    current = place;
    const button = buttons[place[0]] && buttons[place[0]][place[1]];
    if (button) button.tabIndex = 0;
  }

  function choose(button) {
    if (chosen) chosen.removeAttribute("aria-pressed");
    const same = chosen === button;
    chosen = same ? null : button;
    selected = null;
    if (chosen) {
      chosen.setAttribute("aria-pressed", "true");
      const [r, c] = button.place;
      selected = [...snapshot.rows[r], snapshot.columns[c]];
    }
    window.dash_clientside.set_props("selected", { data: selected });
    remember();
  }

  function visible(r, c) {
    return buttons[r] && buttons[r][c] && !rows[r].line.hidden;
  }

  function move(event) {
    if (!event.target.place) return;
    const [r, c] = event.target.place;
    const width = snapshot.columns.length;
    const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    let found = null;
    if (event.key in steps) {
      const [dr, dc] = steps[event.key];
      for (let y = r + dr, x = c + dc; y >= 0 && y < rows.length && x >= 0 && x < width; y += dr, x += dc) {
        if (visible(y, x)) { found = [y, x]; break; }
        // Rows differ in their columns: take the nearest cell of the next row.
        if (dr && !rows[y].line.hidden) {
          const near = buttons[y].map((b, i) => (b ? i : -1)).filter((i) => i >= 0).sort((a, b) => Math.abs(a - c) - Math.abs(b - c));
          if (near.length) { found = [y, near[0]]; break; }
        }
      }
    } else if (event.key === "Home" || event.key === "End") {
      const order = [...Array(width).keys()];
      if (event.key === "End") order.reverse();
      const x = order.find((i) => visible(r, i));
      if (x !== undefined) found = [r, x];
    } else if (event.key === "Escape") {
      if (chosen) choose(chosen);
      event.preventDefault();
      return;
    }
    if (found) {
      event.preventDefault();
      buttons[found[0]][found[1]].focus();
    }
  }

  function filter() {
    const text = filters.text.trim().toLowerCase();
    let shown = 0, trials = 0;
    rows.forEach(function (row, r) {
      let matching = 0;
      for (const button of buttons[r]) {
        if (!button) continue;
        const fits = filters.state === "all" || button.state === filters.state;
        if (fits) matching += 1;
        button.style.visibility = fits ? "" : "hidden";
      }
      row.line.hidden = (text && !row.key.includes(text)) || matching === 0;
      if (!row.line.hidden) { shown += 1; trials += matching; }
    });
    for (const set of sets) set.line.hidden = set.rows.every((r) => rows[r].line.hidden);
    if (!visible(current[0], current[1])) {
      const r = rows.findIndex((row) => !row.line.hidden);
      if (r >= 0) stop([r, buttons[r].findIndex((b) => b)]);
    }
    if (!rows.length) return "This sweep has no trials.";
    return shown === rows.length && filters.state === "all" ? rows.length + (rows.length === 1 ? " row, " : " rows, ") + trials + (trials === 1 ? " cell." : " cells.")
      : shown ? shown + " of " + rows.length + " rows, " + trials + (trials === 1 ? " cell matches." : " cells match.") : "No row matches the filter.";
  }

  document.addEventListener("click", function (event) {
    const pressed = event.target.closest("#filter-state button");
    if (!pressed) return;
    press(pressed.textContent);
    remember();
    if (snapshot) window.dash_clientside.set_props("grid-note", { children: filter() });
  });

  function draw(data, text) {
    if (restored) filters.text = text || "";
    const place = document.getElementById("grid");
    let missing = "";
    if (!data) {
      shape = ""; buttons = []; rows = []; sets = []; snapshot = null;
      if (place) place.replaceChildren();
      return "";
    }
    if (data !== snapshot) {
      snapshot = data;
      document.title = data.sweep + " · Sweeper board";
      const now = JSON.stringify([data.sweep, data.columns, data.rows, data.cells.length]);
      if (now !== shape || !place.firstChild) {
        shape = now;
        chosen = null;
        build(place);
        if (!rows.length) place.replaceChildren();
      }
      update();
      if (!restored) missing = restore();
    }
    remember();
    return missing + filter();
  }

  const attributes = { className: "class", tabIndex: "tabindex", colSpan: "colspan" };

  /* Makes the children of an element those that were described, and leaves alone what has not changed: the focus, and
     what a person has opened, stay as they are. */
  function patch(parent, described) {
    const wanted = [described].flat(Infinity).filter((one) => one !== null && one !== undefined && one !== "");
    while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
    wanted.forEach(function (one, at) {
      const old = parent.childNodes[at];
      if (typeof one !== "object") {
        if (!old || old.nodeType !== Node.TEXT_NODE) place(parent, old, document.createTextNode(one));
        else if (old.data !== String(one)) old.data = one;
        return;
      }
      const tag = one.type.toLowerCase();
      const node = old && old.localName === tag ? old : place(parent, old, document.createElement(tag));
      const given = {};
      for (const [name, value] of Object.entries(one.props)) {
        if (name !== "children" && value !== null) given[attributes[name] || name] = String(value);
      }
      for (const name in node.given) if (!(name in given)) node.removeAttribute(name);
      for (const name in given) if (node.getAttribute(name) !== given[name]) node.setAttribute(name, given[name]);
      node.given = given;
      patch(node, one.props.children);
    });
  }

  function place(parent, old, made) {
    if (old) old.replaceWith(made); else parent.append(made);
    return made;
  }

  function show(parts) {
    for (const name of ["heading", "banners", "summary", "workers", "failures", "links"]) {
      if (parts) patch(document.getElementById(name), parts[name]);
    }
    lock();
    return null;
  }

  let times = 0;
  function show_cell(part) {
    const panel = document.getElementById("cell");
    patch(document.getElementById("cell-body"), part);
    panel.hidden = !part;
    lock();
    return part && selected ? [...selected, String(++times)] : null;
  }

  /* A figure as a picture, on white whatever the page's theme. */
  document.addEventListener("click", async function (event) {
    const button = event.target.closest("button[data-png]");
    const drawn = button && button.closest("figure").querySelector(".js-plotly-plot");
    if (!drawn) return;
    const layout = Object.assign({}, drawn.layout, { paper_bgcolor: "#fff", plot_bgcolor: "#fff", font: { color: "#1b1c1d" } });
    layout.margin = Object.assign({}, layout.margin, { t: 48 });
    layout.title = { text: button.dataset.png, font: { size: 15 } };
    const size = { format: "png", width: 900, height: Math.max(420, drawn.offsetHeight), scale: 2 };
    const link = document.createElement("a");
    link.href = await window.Plotly.toImage({ data: drawn.data, layout: layout }, size);
    link.download = (document.title.split(" · ")[0] + "-" + button.dataset.png).replace(/[^\w.-]+/g, "-").slice(0, 100) + ".png";
    link.click();
  });

  function show_tests(part) {
    patch(document.getElementById("tests"), part);
    return null;
  }

  let asked = 0;
  document.addEventListener("click", function (event) {
    const button = event.target.closest("button[data-retry]");
    // The same trial may be retried twice: the number makes it another request.
    if (button) window.dash_clientside.set_props("retry", { data: { trial: button.dataset.retry, number: ++asked } });
  });

  function later(version) {
    // After the browser has painted what came before.
    return new Promise(function (done) { requestAnimationFrame(function () { setTimeout(done, 50, version || null); }); });
  }

  /* Without a token every button is disabled, also one that appears later. */
  let permitted = false;
  function lock() {
    for (const button of document.querySelectorAll("#failures button, #cell button")) {
      if (button.disabled === permitted) button.disabled = !permitted;
    }
  }
  function permit(token) {
    permitted = Boolean(token);
    lock();
    return [!permitted, permitted ? "The token stays in this tab and is sent with each request." : "Without a token this page is read-only."];
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, { board: { draw: draw, show: show, show_cell: show_cell, show_tests: show_tests, later: later, permit: permit } });

  /* When the server no longer answers, the page says so, since what it shows is then old. */
  const ask = window.fetch;
  let since = null;
  window.fetch = function (...given) {
    const answer = ask.apply(this, given);
    if (String(given[0] && given[0].url || given[0]).includes("_dash-update-component")) {
      answer.then((found) => unreachable(!found.ok), () => unreachable(true));
    }
    return answer;
  };
  function unreachable(gone) {
    const banner = document.getElementById("unreachable");
    if (!banner) return;
    if (gone && !since) since = new Date();
    if (!gone) since = null;
    banner.hidden = !since;
    banner.textContent = since ? "The board's server has not answered since " + since.toLocaleTimeString() + "; the page shows the state before that." : "";
  }
})();
