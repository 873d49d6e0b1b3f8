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
      const column = data.vectors[this.packed.columns[name]];
      const constant =
        !Array.isArray(column) || (name === "worst_index" && !Array.isArray(column[0]));
      const value = constant ? column : column[i];
      return texts.has(name) ? data.strings[value] : value;
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
            ` ${rows.length - bad}/${rows.length}`,
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
    details.open = true;
    const table = build(details);
    const row = table?.rows.find((one) => one.tr.id === id);
    if (row) table.reveal(row);
    else details.scrollIntoView();
  };

  const choose = () => {
    const chosen = document.querySelector(".chosen");
    const figures = [...document.querySelectorAll("details.case figure.chart")];
    if (!chosen || figures.length < 2) return;
    const frame = chosen.closest("figure");
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
  addEventListener("beforeprint", () => {
    closed = cases.filter((one) => !one.open);
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
  follow();
  // Loading ends with the browser's own jump to the fragment, which drops the focus.
  addEventListener("load", () => setTimeout(follow));
})();
