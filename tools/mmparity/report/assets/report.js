// SPDX-License-Identifier: Apache-2.0
// Adds to a page that is complete without it: all rows, filter, sort, deep links.
(async () => {
  "use strict";
  const unpack = async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes])
      .stream()
      .pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };
  const held = document.getElementById("rows");
  const packed = held.textContent;
  const data = JSON.parse(
    held.type === "application/gzip" ? await unpack(packed) : packed,
  );
  const texts = new Set(data.texts);
  const tables = new Map();
  document.documentElement.classList.add("js");

  const make = (tag, properties = {}, ...children) => {
    const { role, scope, expanded, colspan, ...rest } = properties;
    const node = Object.assign(document.createElement(tag), rest);
    if (role) node.setAttribute("role", role);
    if (scope) node.setAttribute("scope", scope);
    if (colspan) node.setAttribute("colspan", colspan);
    if (expanded !== undefined) node.setAttribute("aria-expanded", expanded);
    node.append(...children);
    return node;
  };

  const shown = (value) => {
    if (value === null || value === undefined) return "n/a";
    if (Array.isArray(value)) return `[${value.join(", ")}]`;
    if (typeof value !== "number") return String(value);
    return value === 0 ? "0" : value.toExponential(2).replace("e+", "e");
  };
  const whole = (value) =>
    typeof value === "number" ? value.toLocaleString("en") : shown(value);
  const exact = (value) => (typeof value === "number" ? String(value) : shown(value));
  const written = (field) =>
    field.endsWith("_at_worst") ? exact : /^numel$|_index$/.test(field) ? whole : shown;
  // NaN, infinity and "could not be computed" are worse than every number.
  const weight = (value) => (typeof value === "number" ? value : Infinity);
  const word = { pass: "✓ PASS", fail: "✗ FAIL", error: "! ERROR" };

  const tally = (failed, rows) =>
    failed ? `${whole(failed)} of ${whole(rows)} failed` : `${whole(rows)} row${rows === 1 ? "" : "s"}`;
  const title = (anchor) => document.querySelector(`#${anchor} h3`).textContent;
  const value = (columns, name, i) => {
    const column = data.vectors[columns[name]];
    const constant =
      !Array.isArray(column) || (name === "worst_index" && !Array.isArray(column[0]));
    const found = constant ? column : column[i];
    return texts.has(name) ? data.strings[found] : found;
  };
  // A row of a case, by its place: the case may not have been opened yet.
  const read = (anchor, i) => (name) => value(data.cases[anchor].columns, name, i);
  const floors = (row) => {
    const [error, floor] = [row("normalized_l2_error"), row("floor")];
    return error === 0 ? 0 : error > 0 && floor > 0 ? error / floor : Infinity;
  };

  // Names what a drawing shows, by pointer and by keyboard, and leads to its row.
  // `places` are {x, y, anchor, i, mark}: where, and the row of which case.
  class Picker {
    constructor(figure, label) {
      this.range = make("input", { type: "range", min: 0, step: 1, ariaLabel: label });
      this.link = make("a");
      this.said = make("span", { className: "quiet" });
      this.mark = document.createElementNS("http://www.w3.org/2000/svg", "path");
      this.mark.setAttribute("class", "at");
      figure.classList.add("picked");
      figure.append(make("p", { className: "pick" }, this.range, this.link, this.said));
      this.range.addEventListener("input", () => this.show(Number(this.range.value)));
      this.range.addEventListener("keydown", (event) => {
        if (event.key === "Enter") this.link.click();
      });
    }

    on(svg, places, first) {
      this.places = places;
      this.range.max = places.length - 1;
      svg.append(this.mark);
      svg.onpointermove = (event) => {
        const to = svg.getScreenCTM().inverse();
        const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(to);
        const far = (one) => (one.x - x) ** 2 + (one.y === null ? 0 : one.y - y) ** 2;
        const near = places.reduce((a, b) => (far(b) < far(a) ? b : a));
        this.show(places.indexOf(near));
      };
      svg.onclick = () => this.link.click();
      this.show(first);
    }

    show(n) {
      const { anchor, i, mark } = this.places[n];
      const row = read(anchor, i);
      const factor = floors(row);
      const times = Number.isFinite(factor) ? `${factor.toPrecision(2)} floors` : "";
      const error = `normalized L2 ${shown(row("normalized_l2_error"))}`;
      this.range.value = n;
      this.link.textContent = row("hook_point");
      this.link.href = `#${anchor}.${row("id")}`;
      this.said.textContent = [word[row("verdict")], error, factor ? times : "same bits", title(anchor).slice(7)]
        .filter(Boolean)
        .join(", ");
      this.range.setAttribute("aria-valuetext", `${row("hook_point")}, ${this.said.textContent}`);
      this.mark.setAttribute("d", mark);
    }
  }

  // The points of a chart stand side by side, over the whole of its axis.
  const points = (svg) => {
    const anchor = svg.dataset.case;
    const { x, width, y } = svg.querySelector(".axis").getBBox();
    const rows = data.cases[anchor]?.rows ?? 0;
    return Array.from({ length: rows }, (_, i) => {
      const at = x + (width * i) / Math.max(1, rows - 1);
      return { x: at, y: null, anchor, i, mark: `M${at} 6V${y}` };
    });
  };
  // Where to start: at the earliest row that failed.
  const earliest = (places) => {
    const bad = places.filter(({ anchor, i }) => read(anchor, i)("verdict") !== "pass");
    return Math.max(0, places.indexOf(bad.reduce((a, b) => (b.i < a.i ? b : a), bad[0])));
  };

  // A map shows the worst of its cases, or one of them.
  const mapped = (figure) => {
    const map = data.maps[figure.dataset.map];
    const cases = map.cases.filter((anchor) => data.cases[anchor]);
    if (cases.length < map.cases.length) return;
    const svg = figure.querySelector("svg");
    const names = [data.vectors[map.names]].flat().map((name) => data.strings[name]);
    const rows = new Map(
      cases.map((anchor) => [
        anchor,
        new Map(
          Array.from({ length: data.cases[anchor].rows }, (_, i) => [
            read(anchor, i)("hook_point"),
            i,
          ]),
        ),
      ]),
    );
    const picker = new Picker(figure, "Hook point of the map");
    const draw = (chosen) => {
      const places = names.flatMap((name, n) => {
        const anchor = chosen || cases[map.worst[n]];
        const i = rows.get(anchor).get(name);
        const [x, y] = map.cells[n];
        const box = `${x} ${y}h${map.width - 1}v10h-${map.width - 1}z`;
        return i === undefined ? [] : [{ x: x + map.width / 2, y: y + 5, anchor, i, mark: `M${box}` }];
      });
      const drawn = [...data.levels, Infinity].map(() => "");
      let crosses = "";
      for (const { x, y, anchor, i, mark } of places) {
        const row = read(anchor, i);
        const factor = floors(row);
        const level = data.levels.findIndex((bound) => factor <= bound);
        drawn[level < 0 ? data.levels.length : level] += mark;
        if (row("verdict") !== "pass") crosses += `M${x - 3.5} ${y - 3}l6 6m0-6l-6 6`;
      }
      svg.querySelectorAll(".cell").forEach((path, n) => path.setAttribute("d", drawn[n]));
      svg.querySelector(".crossed").setAttribute("d", crosses);
      picker.on(svg, places, earliest(places));
    };
    if (cases.length > 1) {
      const said = figure.querySelector("figcaption span");
      const select = make(
        "select",
        { ariaLabel: "Cases of the map" },
        make("option", { value: "", textContent: said.textContent }),
        ...cases.map((value) => make("option", { value, textContent: title(value) })),
      );
      select.addEventListener("change", () => draw(select.value));
      said.replaceWith(select);
    }
    draw(cases.length > 1 ? "" : cases[0]);
  };

  // Every hook point of every case, and every line of the page's tables.
  const search = () => {
    const box = make("input", { type: "search", id: "find", placeholder: "attn.q, padded-vit-weights" });
    const said = make("span", { role: "status", className: "quiet" });
    const list = make("ul", { className: "found", hidden: true });
    const most = 60;
    const open = (node) => {
      for (let one = node; one; one = one.parentElement) if (one.matches("details")) one.open = true;
      node.tabIndex = -1;
      node.scrollIntoView({ block: "center" });
      node.focus({ preventScroll: true });
    };
    const lines = [
      ...document.querySelectorAll("main > section:not([aria-labelledby=cases]) tbody tr, details.patch"),
    ];
    box.addEventListener("input", () => {
      const wanted = box.value.trim().toLowerCase();
      const has = (text) => text.toLowerCase().includes(wanted);
      const found = [];
      if (wanted) {
        for (const [anchor, { rows }] of Object.entries(data.cases))
          for (let i = 0; i < rows; i++) {
            const row = read(anchor, i);
            if (!["hook_point", "old_path", "new_path"].some((name) => has(row(name)))) continue;
            const link = make("a", { href: `#${anchor}.${row("id")}`, textContent: row("hook_point") });
            found.push([link, ` ${word[row("verdict")]} ${title(anchor).slice(7)}`]);
          }
        for (const line of lines.filter((one) => has(one.textContent))) {
          const name = line.querySelector("th, summary") ?? line;
          const text = name.textContent.replace(/\s+/g, " ").trim();
          const button = make("button", { type: "button", textContent: text.slice(0, 90) });
          button.addEventListener("click", () => open(line));
          const section = line.closest("section").querySelector("h2").textContent;
          found.push([button, ` ${section}`]);
        }
      }
      list.replaceChildren(...found.slice(0, most).map((parts) => make("li", {}, ...parts)));
      list.hidden = !found.length;
      const more = found.length > most ? `, the first ${most} are listed` : "";
      said.textContent = wanted ? `${whole(found.length)} found${more}` : "";
    });
    const label = make("label", { htmlFor: "find", textContent: "Find in this report" });
    document.querySelector(".top span").after(make("span", { className: "find" }, label, box, said));
    document.querySelector(".bar").before(list);
  };

  class CaseTable {
    constructor(table) {
      this.table = table;
      this.anchor = table.dataset.case;
      this.packed = data.cases[this.anchor];
      this.sorted = null;
      this.caption = table.caption.textContent;
      this.rows = [];
      this.groups = [...table.tBodies].map((body) => this.group(body));
      for (let i = 0; i < this.packed.rows; i++) this.rows.push(this.row(i));
      if (!this.groups.length) this.groups = this.listed();
      document
        .querySelectorAll(`.static tr[id^="${this.anchor}."]`)
        .forEach((tr) => tr.removeAttribute("id"));
      this.flat = make("tbody");
      this.heads();
      this.tools();
      this.fill();
    }

    at(name, i) {
      return value(this.packed.columns, name, i);
    }

    group(body) {
      const name = body.querySelector(".name");
      const button = make("button", {
        type: "button",
        expanded: "false",
        textContent: name.textContent,
      });
      name.replaceWith(button);
      const group = {
        body,
        head: body.rows[0],
        button,
        name: button.textContent,
        open: false,
      };
      button.addEventListener("click", () => {
        group.open = !group.open;
        this.fill();
      });
      return group;
    }

    // The blocks of a case that the page itself does not list.
    listed() {
      const names = [...new Set(this.rows.map((row) => row.group))];
      return names.map((name) => {
        const rows = this.rows.filter((row) => row.group === name);
        const bad = rows.filter((row) => row.verdict !== "pass").length;
        const worst = (field) => {
          const values = rows.map((row) => this.at(field, row.i));
          const known = values.filter((value) => value !== null);
          const top = known.reduce((a, b) => (weight(b) > weight(a) ? b : a), known[0]);
          return [top, rows[values.indexOf(top)]];
        };
        const verdict = bad ? "fail" : "pass";
        const [, place] = worst("normalized_l2_error");
        const cells = data.columns.map(([, field]) =>
          make("td", { className: "num", textContent: shown(worst(field)[0]) }),
        );
        const head = make(
          "tr",
          { className: "group" },
          make(
            "td",
            {},
            make("b", { className: verdict, textContent: word[verdict] }),
            ` ${tally(bad, rows.length)}`,
          ),
          make(
            "th",
            { scope: "row" },
            make("span", { className: "name", textContent: name }),
            " ",
            make("span", {
              className: "quiet",
              textContent: place ? this.at("hook_point", place.i) : "",
            }),
          ),
          ...cells,
        );
        return this.group(make("tbody", {}, head));
      });
    }

    row(i) {
      const verdict = this.at("verdict", i);
      const button = make("button", {
        type: "button",
        expanded: "false",
        textContent: this.at("hook_point", i),
      });
      const tr = make(
        "tr",
        {
          className: verdict === "pass" ? "row" : "row bad",
          id: `${this.anchor}.${this.at("id", i)}`,
        },
        make("td", {}, make("b", { className: verdict, textContent: word[verdict] })),
        make("th", { scope: "row" }, button),
      );
      for (const [, field] of data.columns) {
        tr.append(
          make("td", { className: "num", textContent: shown(this.at(field, i)) }),
        );
      }
      const row = {
        i,
        tr,
        button,
        verdict,
        group: this.at("group", i),
        detail: null,
        open: false,
      };
      button.addEventListener("click", () => this.toggle(row));
      return row;
    }

    toggle(row, open = !row.open) {
      row.open = open;
      row.button.setAttribute("aria-expanded", String(open));
      if (!open) return row.detail?.remove();
      row.detail ??= this.detail(row.i);
      row.tr.after(row.detail);
    }

    detail(i) {
      const lists = {};
      const put = (list, name, value) =>
        (lists[list] ??= []).push(
          make("dt", { textContent: name }),
          make("dd", { textContent: value }),
        );
      const reason = this.at("reason", i);
      if (reason) put("What it is", "why", reason);
      put(
        "What it is",
        "old",
        `${this.at("old_path", i)} (${this.at("old_transforms", i)})`,
      );
      put(
        "What it is",
        "new",
        `${this.at("new_path", i)} (${this.at("new_transforms", i)})`,
      );
      const dtypes = new Set([this.at("old_dtype", i), this.at("new_dtype", i)]);
      put("What it is", "shape", `${this.at("shape", i)} ${[...dtypes].join(" → ")}`);
      put("What it is", "allowed", this.at("allowed", i));
      for (const [field, label] of Object.entries(data.labels)) {
        const value = this.at(field, i);
        if (value === null) continue;
        put(
          field.includes("oracle") ? "Against the oracle" : "New against old",
          label,
          written(field)(value),
        );
      }
      const columns = Object.entries(lists).map(([title, items]) =>
        make("div", {}, make("h4", { textContent: title }), make("dl", {}, ...items)),
      );
      return make(
        "tr",
        { className: "detail" },
        make(
          "td",
          { colspan: data.columns.length + 2 },
          make("div", { className: "columns" }, ...columns),
        ),
      );
    }

    heads() {
      [...this.table.tHead.rows[0].cells].forEach((th, place) => {
        const field =
          place === 0
            ? "verdict"
            : place === 1
              ? "hook_point"
              : data.columns[place - 2][1];
        const button = make("button", {
          type: "button",
          textContent: place === 1 ? "hook point" : th.textContent,
        });
        button.addEventListener("click", () => this.sort(th, field));
        th.replaceChildren(button);
      });
    }

    // Worst first, then least, then back to the order of execution.
    sort(th, field) {
      const now = th.getAttribute("aria-sort");
      for (const cell of th.parentNode.cells) cell.removeAttribute("aria-sort");
      const next =
        now === null ? "descending" : now === "descending" ? "ascending" : null;
      this.sorted = next && { field, sign: next === "descending" ? -1 : 1 };
      if (next) th.setAttribute("aria-sort", next);
      this.fill();
    }

    tools() {
      const id = `${this.anchor}-filter`;
      this.text = make("input", { type: "search", id, placeholder: "blocks.7.attn" });
      this.only = make("input", { type: "checkbox", id: `${id}-failing` });
      this.count = make("span", { role: "status", className: "quiet" });
      const all = make("button", {
        type: "button",
        textContent: "Open all blocks",
        expanded: "false",
      });
      all.addEventListener("click", () => {
        const open = all.getAttribute("aria-expanded") === "false";
        all.setAttribute("aria-expanded", String(open));
        all.textContent = open ? "Close all blocks" : "Open all blocks";
        this.groups.forEach((group) => {
          group.open = open;
        });
        this.fill();
      });
      this.text.addEventListener("input", () => this.fill());
      this.only.addEventListener("change", () => this.fill());
      const bar = make(
        "div",
        { className: "tools" },
        make("label", { htmlFor: id, textContent: "Hook point contains" }),
        this.text,
        make(
          "span",
          {},
          this.only,
          make("label", { htmlFor: this.only.id, textContent: " failing rows only" }),
        ),
        all,
        this.count,
      );
      this.only.parentNode.hidden = this.rows.every((row) => row.verdict === "pass");
      this.table.parentNode.before(bar);
    }

    compare(a, b) {
      const { field, sign } = this.sorted;
      const [left, right] = [this.at(field, a.i), this.at(field, b.i)];
      const ranks = ["pass", "fail", "error"];
      if (field === "verdict")
        return sign * (ranks.indexOf(left) - ranks.indexOf(right)) || a.i - b.i;
      if (texts.has(field))
        return -sign * left.localeCompare(right, "en", { numeric: true }) || a.i - b.i;
      const [x, y] = [weight(left), weight(right)];
      return x === y ? a.i - b.i : sign * (x < y ? -1 : 1);
    }

    // Grouped by block in the order of execution; one flat list when sorted or filtered.
    fill() {
      const wanted = this.text.value.trim().toLowerCase();
      const fits = (row) =>
        (!wanted || this.at("hook_point", row.i).toLowerCase().includes(wanted)) &&
        (!this.only.checked || row.verdict !== "pass");
      const list = this.rows.filter(fits);
      if (this.sorted) list.sort((a, b) => this.compare(a, b));
      const flat = Boolean(this.sorted || wanted || this.only.checked);
      const put = (body, rows) =>
        rows.forEach((row) =>
          body.append(...(row.open ? [row.tr, row.detail] : [row.tr])),
        );
      this.flat.replaceChildren();
      for (const group of this.groups) {
        group.body.replaceChildren(group.head);
        group.button.setAttribute("aria-expanded", String(group.open));
        if (!flat && group.open)
          put(
            group.body,
            list.filter((row) => row.group === group.name),
          );
      }
      if (flat) put(this.flat, list);
      const bodies = flat ? [this.flat] : this.groups.map((group) => group.body);
      [...this.table.tBodies].forEach((body) => body.remove());
      this.table.append(...bodies);
      this.table.caption.textContent = flat ? "Rows, each alone" : this.caption;
      this.count.textContent = flat
        ? `${list.length} of ${this.rows.length} rows`
        : `${this.rows.length} rows in ${this.groups.length} groups`;
    }

    reveal(row) {
      this.text.value = "";
      this.only.checked = false;
      const group = this.groups.find((one) => one.name === row.group);
      if (group) group.open = true;
      this.fill();
      this.toggle(row, true);
      document
        .querySelectorAll("tr.target")
        .forEach((tr) => tr.classList.remove("target"));
      row.tr.classList.add("target");
      row.tr.scrollIntoView({ block: "center" });
      row.button.focus({ preventScroll: true });
    }
  }

  const build = (details) => {
    const table = details.querySelector("table[data-case]");
    if (!table || !data.cases[table.dataset.case]) return null;
    if (!tables.has(table)) tables.set(table, new CaseTable(table));
    return tables.get(table);
  };

  const follow = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    const details = document.getElementById(id.split(".")[0]);
    if (details?.matches("details.patch")) details.open = true;
    if (!details?.matches("details.case")) return;
    details.closest("details.folded")?.setAttribute("open", "");
    details.open = true;
    const table = build(details);
    const row = table?.rows.find((one) => one.tr.id === id);
    if (row) table.reveal(row);
    else details.scrollIntoView();
  };

  const choose = () => {
    const chosen = document.querySelector(".chosen");
    if (!chosen) return;
    const frame = chosen.closest("figure");
    const picker = new Picker(frame, "Hook point of the chart");
    const pick = (svg) => {
      const places = points(svg);
      if (places.length) picker.on(svg, places, earliest(places));
    };
    pick(frame.querySelector("svg"));
    const figures = [...document.querySelectorAll("details.case figure.chart")];
    if (figures.length < 2) return;
    const select = make(
      "select",
      { id: "chart-case" },
      ...figures.map((figure) => {
        const details = figure.closest("details");
        const name = details.querySelector("h3").textContent;
        return make("option", {
          value: figure.id,
          textContent: name,
          selected: name.endsWith(chosen.textContent),
        });
      }),
    );
    select.addEventListener("change", () => {
      const copy = document
        .getElementById(select.value)
        .querySelector("svg")
        .cloneNode(true);
      copy.setAttribute(
        "aria-label",
        copy.querySelector("title").textContent +
          ". " +
          copy.querySelector("desc").textContent,
      );
      copy.removeAttribute("aria-labelledby");
      copy.querySelectorAll("[id]").forEach((node) => node.removeAttribute("id"));
      frame.querySelector("svg").replaceWith(copy);
      pick(copy);
    });
    chosen.replaceWith(select);
  };

  for (const [slug, text] of Object.entries(data.diffs ?? {})) {
    const place = document.querySelector(`pre[data-patch="${CSS.escape(slug)}"]`);
    if (place) place.textContent = text;
  }
  for (const [anchor, svg] of Object.entries(data.charts ?? {})) {
    const place = document.getElementById(`${anchor}-figure`);
    if (place && !place.childElementCount) place.innerHTML = svg;
  }
  const cases = [...document.querySelectorAll("details.case")];
  const first = cases.find((one) => one.querySelector("summary b:not(.pass)"));
  for (const details of cases) {
    details.addEventListener("toggle", () => {
      if (details.open) build(details);
    });
    details.open = details === first || cases.length === 1;
    if (details.open) {
      const table = build(details);
      const bad = table?.rows.find((row) => row.verdict !== "pass");
      const group = bad && table.groups.find((one) => one.name === bad.group);
      if (group) {
        group.open = true;
        table.fill();
      }
    }
  }
  addEventListener("hashchange", follow);
  // A link to the place where the page already is changes no hash.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (!link || link.getAttribute("href") !== location.hash) return;
    event.preventDefault();
    follow();
  });
  let closed = [];
  const folded = [...document.querySelectorAll("details.folded")];
  folded.forEach((one) => {
    one.open = false;
  });
  addEventListener("beforeprint", () => {
    closed = [...folded, ...cases].filter((one) => !one.open);
    closed.forEach((one) => {
      one.open = true;
    });
  });
  addEventListener("afterprint", () =>
    closed.forEach((one) => {
      one.open = false;
    }),
  );
  choose();
  document.querySelectorAll("figure.map").forEach(mapped);
  search();
  follow();
  // Loading ends with the browser's own jump to the fragment, which drops the focus.
  addEventListener("load", () => setTimeout(follow));
})();
