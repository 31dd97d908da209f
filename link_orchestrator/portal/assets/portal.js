// Adds to pages that work without it: progress without a reload, times in the browser's zone, keys, and what is said
// before work is lost.

const status = document.getElementById("status");

/** Say something at the foot of the page; "" takes it away. Markup may stand in it: it is never what a server sent. */
function say(text, link) {
  status.replaceChildren(text);
  if (link) {
    const a = document.createElement("a");
    [a.href, a.textContent] = link;
    a.target = "_blank";
    status.append(" ", a);
  }
  status.hidden = !text;
}

const zone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function showTimes(within) {
  for (const time of within.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.valueOf())) continue;
    time.title ||= time.textContent;
    time.textContent = zone.format(at);
  }
  // An option holds text alone, no element of a time.
  for (const option of within.querySelectorAll("option")) {
    const text = option.text.replace(/\d{1,2} [A-Z][a-z]{2} \d{4}, \d\d:\d\d UTC$/, (at) => zone.format(new Date(at.replace(",", ""))));
    if (text !== option.text) option.text = text;
  }
}

/** On a narrow screen a row is a card, in which each cell is named by its column (portal.css). */
function nameCells(within) {
  for (const table of within.querySelectorAll(".scroll > table")) {
    const head = table.tHead;
    if (!head || head.classList.contains("hidden")) continue;
    const names = [...head.rows[0].cells].map((cell) => (cell.querySelector("input") ? "" : cell.textContent.trim()));
    for (const row of table.tBodies[0].rows) [...row.cells].forEach((cell, at) => {
      cell.dataset.name = cell.childElementCount || cell.textContent.trim() ? names[at] ?? "" : "";
    });
    table.classList.add("cardlike");
  }
}

const SECOND = 1000, LONGEST = 15 * SECOND;
const AWAY = "The server does not answer. What was started goes on as soon as it does; this page tries again by itself.";
const SIGNED_OUT = "Your sign-in has ended. Nothing is lost: sign in again in another tab, then go on here.";
let typed = false;

/** Ask the server; null where the sign-in has ended. App Service then leads to the sign-in of another site. */
async function ask(address, options) {
  const answer = await fetch(address, { redirect: "manual", cache: "no-store", ...options });
  if (answer.type === "opaqueredirect" || answer.status === 401) {
    say(SIGNED_OUT, [document.querySelector(".brand").href, "Sign in again"]);
    return null;
  }
  if (!answer.ok) throw Object.assign(new Error(String(answer.status)), { status: answer.status });
  return answer;
}

/** Keep an element as the server has it, every second, less often while the server does not answer. */
async function follow(element) {
  let wait = SECOND, address = element.dataset.progress;
  while (element.isConnected && address) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (document.hidden) continue;
    try {
      const answer = await ask(address);
      if (!answer) {
        wait = LONGEST;
        continue;
      }
      const fragment = new DOMParser().parseFromString(await answer.text(), "text/html").body;
      const inner = fragment.querySelector("[data-progress], .live");
      if (inner && fragment.childElementCount === 1) {
        address = inner.dataset.progress;
        if (inner.innerHTML !== element.dataset.last) {
          element.dataset.last = inner.innerHTML;
          element.replaceChildren(...inner.childNodes);
        }
      } else {
        element.replaceChildren(...fragment.childNodes);
      }
      showTimes(element);
      nameCells(element);
      say("");
      wait = SECOND;
    } catch (error) {
      if (error.status < 500 && ![408, 429].includes(error.status)) break; // the page itself says what is wrong
      wait = Math.min(wait * 2, LONGEST);
      say(AWAY);
    }
  }
  if (!element.isConnected) return;
  if (typed) say("This has ended, or is not there any more. Nothing that you typed is lost: load the page again once you do not need it.");
  else location.reload(); // the page shows what there is to do now
}

/** Send a form once it is known that somebody answers and is signed in: whatever was typed would be gone otherwise. */
async function sendWhenAnswered(form, button) {
  try {
    if (!(await ask(location.href, { method: "HEAD" }))) return release(form);
    say("");
  } catch (error) {
    if (!(error.status < 500)) { // any other answer is one: sending says what is wrong
      say("The server does not answer. Nothing was sent, and nothing of what you typed is lost: try again in a moment.");
      return release(form);
    }
  }
  form.dataset.sent = "now";
  form.requestSubmit(button);
  setTimeout(say, SECOND, "The server is at work on what you sent. This page goes on by itself: leave it open.");
}

/** The buttons of a form, also those that stand elsewhere on the page. */
function buttonsOf(form) {
  return [...form.elements].filter((one) => one.type === "submit");
}

/** Let a form be sent again. */
function release(form) {
  delete form.dataset.sent;
  for (const button of buttonsOf(form)) button.removeAttribute("aria-disabled");
}

/** A press of a button counts once: the second one would be refused by the server anyway. */
function sendOnce(event) {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent === "now") return void (form.dataset.sent = "yes");
  event.preventDefault();
  if (form.dataset.sent) return;
  for (const input of form.querySelectorAll("[data-confirm]")) {
    const wrong = input.value.replace(/[\s,.']/g, "") !== input.dataset.confirm;
    input.setCustomValidity(wrong ? `Type ${Number(input.dataset.confirm).toLocaleString()}, the number shown.` : "");
    if (wrong) return void input.reportValidity();
  }
  form.dataset.sent = "yes";
  for (const button of buttonsOf(form)) button.setAttribute("aria-disabled", "true");
  sendWhenAnswered(form, event.submitter);
}

/** In a table with data-keys: j and k go down and up, l opens the row's link, x ticks its box, others click [data-key].
 * A page without such a table has its [data-key] anywhere. */
function press(event) {
  const table = document.querySelector("table[data-keys]");
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=checkbox]), textarea, select")) return;
  if (!table) {
    const own = event.key.length === 1 && document.querySelector(`main [data-key="${CSS.escape(event.key)}"]`);
    if (own) event.preventDefault(), own.click();
    return;
  }
  const rows = [...table.tBodies[0].rows], at = rows.findIndex((row) => row.hasAttribute("data-at")), row = rows[at];
  const to = { j: Math.min(at + 1, rows.length - 1), k: Math.max(at - 1, 0) }[event.key];
  if (to !== undefined && rows[to]) {
    row?.removeAttribute("data-at");
    rows[to].setAttribute("data-at", "");
    rows[to].tabIndex = -1;
    rows[to].focus({ preventScroll: true });
    rows[to].scrollIntoView({ block: "nearest" });
  } else if (row && event.key.length === 1) {
    const own = row.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    const target = own ?? { l: row.querySelector("a[href]"), x: row.querySelector("input[type=checkbox]") }[event.key];
    if (!target) return;
    target.click();
  } else return;
  event.preventDefault();
}

/** In the rules of the policy, up and down move a row at once, and keep the focus where it was. */
function moveRow(event) {
  const button = event.target.closest("[data-move]"), row = button?.closest("tr");
  if (!row?.closest("[data-order]")) return;
  event.preventDefault();
  if (button.dataset.move === "up") row.previousElementSibling?.before(row);
  else row.nextElementSibling?.after(row);
  button.focus();
  say(`Rule ${row.rowIndex} of ${row.parentElement.rows.length} now. Save the policy to keep the order.`);
}

/** What is to be pasted elsewhere gets a button that copies it. */
function offerCopy(element) {
  const button = document.createElement("button");
  [button.type, button.className, button.textContent] = ["button", "button copy", "Copy"];
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(element.textContent);
    button.textContent = "Copied";
  });
  element.after(button);
}

/** A box at the head of a table ticks all those that share its name. */
function tickAll(event) {
  const name = event.target.dataset.tickAll;
  if (name) for (const box of document.getElementsByName(name)) box.checked = event.target.checked;
}

if (navigator.clipboard) document.querySelectorAll("[data-copy]").forEach(offerCopy);
addEventListener("click", moveRow);
/** A notice is of what was just done: it does not come again with a reload. */
const here = new URL(location);
if (here.searchParams.has("said")) {
  here.searchParams.delete("said");
  here.hash = ""; // the field that was refused before leads nowhere any more
  history.replaceState(null, "", here);
}

showTimes(document);
nameCells(document);
for (const box of document.querySelectorAll("[data-tick-all]")) box.hidden = false;
// What was refused comes first; then the row to go on with; then what was done: Tab goes on from there.
const first = [".errors", "tr[data-at]", "[data-focus]", ".said"].map((one) => document.querySelector(one)).find(Boolean);
first?.focus({ preventScroll: first.matches(".said") });
addEventListener("change", tickAll);
for (const element of document.querySelectorAll("[data-progress]")) follow(element);
// Of a large plan few rows may meet a condition: the page looks on by itself, unless somebody chooses others.
const onward = document.querySelector("[data-onward] a");
if (onward) setTimeout(() => typed || location.replace(onward.href), SECOND / 4);
addEventListener("submit", sendOnce);
addEventListener("keydown", press);
addEventListener("input", (event) => {
  typed = true;
  event.target.setCustomValidity?.("");
});
addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => (say(""), release(form))));
