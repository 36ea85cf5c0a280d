// Serves the files of agent-canvas on one origin with a backend, and uses the page in a headless Chromium.
import { createReadStream, existsSync, readFileSync, statSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import path from "node:path";
import { chromium } from "playwright-core";

const asked = JSON.parse(readFileSync(0, "utf8"));
const backend = new URL(asked.url);
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".svg": "image/svg+xml" };
const FORWARDED = /^\/(api|sockets|server_info|alive|health|ready)(\/|$|\?)/;

function serve(request, response) {
  const name = new URL(request.url, "http://x").pathname;
  if (FORWARDED.test(request.url)) {
    const options = { host: backend.hostname, port: backend.port, path: request.url, method: request.method, headers: request.headers };
    const forwarded = http.request(options, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    forwarded.on("error", () => response.destroy());
    request.pipe(forwarded);
    return;
  }
  const file = path.join(asked.build, name);
  if (existsSync(file) && statSync(file).isFile()) {
    response.writeHead(200, { "content-type": TYPES[path.extname(file)] ?? "application/octet-stream" });
    createReadStream(file).pipe(response);
    return;
  }
  if (path.extname(name)) return response.writeHead(404).end();
  const script = `<script>window.__AGENT_CANVAS_SESSION_API_KEY__=${JSON.stringify(asked.key)}</script>`;
  response.writeHead(200, { "content-type": "text/html" });
  response.end(readFileSync(path.join(asked.build, "index.html"), "utf8").replace("<head>", `<head>${script}`));
}

function forwardSocket(request, client) {
  const server = net.connect(backend.port, backend.hostname, () => {
    const headers = request.rawHeaders.map((part, i) => (i % 2 ? `${part}\r\n` : `${part}: `)).join("");
    server.write(`GET ${request.url} HTTP/1.1\r\n${headers}\r\n`);
    server.pipe(client).pipe(server);
  });
  server.on("error", () => client.destroy());
  client.on("error", () => server.destroy());
}

const front = http.createServer(serve).on("upgrade", forwardSocket);
await new Promise((done) => front.listen(0, "127.0.0.1", done));
const origin = `http://localhost:${front.address().port}`;
const browser = await chromium.launchPersistentContext(asked.profile, {
  executablePath: asked.chromium,
  headless: true,
  viewport: { width: 1400, height: 900 },
  acceptDownloads: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
await browser.addInitScript(() => {
  localStorage.setItem("openhands-onboarded", "1");
  localStorage.setItem("openhands-telemetry-consent", "denied");
});
const page = await browser.newPage();
const requests = [];
const errors = [];
const frames = [];
page.on("response", (answer) => {
  const url = new URL(answer.url());
  if (url.origin === origin && FORWARDED.test(url.pathname)) requests.push({ method: answer.request().method(), path: url.pathname + url.search, status: answer.status(), page: page.url().replace(origin, "") });
});
page.on("websocket", (socket) => {
  requests.push({ method: "WS", path: socket.url().replace(/session_api_key=[^&]*/, ""), status: 101, page: "" });
  socket.on("framesent", (f) => frames.push(`> ${f.payload}`.slice(0, 400)));
  socket.on("framereceived", (f) => frames.push(`< ${f.payload}`.slice(0, 200)));
});
page.on("console", (message) => message.type() === "error" && errors.push(message.text().slice(0, 300)));
page.on("pageerror", (error) => errors.push(`page: ${error}`.slice(0, 300)));
const shot = (name) => page.screenshot({ path: path.join(asked.shots, `${name}.png`) });
const toasts = new Set();
async function lookForToasts() {
  for (const text of await page.locator('[role="status"], [role="alert"], .go2072408551, [class*="toast"]').allTextContents()) if (text.trim()) toasts.add(`${page.url().replace(origin, "")}: ${text.trim()}`);
}
const steps = {};
async function look(ms) {
  await page.waitForTimeout(ms);
  await lookForToasts();
}
const api = (method, where, body) =>
  fetch(asked.url + where, { method, body: body && JSON.stringify(body), headers: { "x-session-api-key": asked.key, "content-type": "application/json" } });

const menu = async (item) => {
  await page.getByTestId("chat-pane-header").getByTestId("ellipsis-button").first().click();
  await page.getByTestId("conversation-name-context-menu").getByTestId(item).click();
};
const shows = (text) => page.getByTestId("chat-scroll-container").getByText(text).first().waitFor({ timeout: 15000 });

// Each step says what is true after it; one that fails leaves a screenshot and the others go on.
async function step(name, work) {
  try {
    steps[name] = (await work()) ?? true;
  } catch (error) {
    steps[name] = `failed: ${String(error).slice(0, 400)}`;
    await shot(name);
  }
  await look(500);
}

async function use([one, another]) {
  const cards = page.getByTestId("conversation-card");
  await step("lists", async () => {
    await page.goto(`${origin}/conversations`);
    await cards.first().waitFor({ timeout: 20000 });
    return cards.count();
  });
  await step("pages", async () => {
    await page.getByTestId("load-more-conversations").scrollIntoViewIfNeeded();
    await page.getByTestId("load-more-conversations").click({ timeout: 3000 }).catch(() => {});
    await page.waitForFunction(() => document.querySelectorAll("[data-testid=conversation-card]").length > 20, null, { timeout: 10000 });
    return (await cards.count()) > 20;
  });
  await step("opens", async () => {
    await page.goto(`${origin}/conversations/${one}`);
    await shows(asked.last);
  });
  await step("scrolls up", async () => {
    const box = page.getByTestId("chat-scroll-container");
    for (let i = 0; i < 20 && !(await box.getByText(asked.first).count()); i++) {
      await box.evaluate((element) => element.scrollTo(0, 0));
      await page.waitForTimeout(500);
    }
    await shows(asked.first);
    await box.evaluate((element) => element.scrollTo(0, element.scrollHeight));
  });
  await step("shows live events", async () => {
    await api("POST", `/api/conversations/${one}/events`, { role: "user", content: [{ type: "text", text: "written by another client" }] });
    await shows("written by another client");
  });
  await step("sends a message", async () => {
    await page.getByTestId("chat-input").click();
    await page.keyboard.type("sent from the page");
    await page.getByTestId("submit-button").click({ timeout: 10000 });
    await shows("sent from the page");
    if (asked.notice) await page.getByText(asked.notice).first().waitFor({ timeout: 10000 });
    await page.waitForTimeout(3000);
    const sending = await page.getByText(/sending/i).count();
    if (sending) throw new Error("still sending");
    const found = await (await api("GET", `/api/conversations/${one}/events/search?body=sent%20from%20the%20page`)).json();
    return found.items.length;
  });
  await step("renames", async () => {
    await menu("rename-button");
    await page.getByTestId("conversation-name-input").fill("renamed in the page");
    await page.keyboard.press("Enter");
    await page.waitForTimeout(1500);
    return (await (await api("GET", `/api/conversations/${one}`)).json()).title;
  });
  await step("downloads", async () => {
    const [begun] = await Promise.all([page.waitForEvent("download", { timeout: 15000 }), menu("download-trajectory-button")]);
    const file = await begun.path();
    return readFileSync(file).subarray(0, 2).toString();
  });
  for (const [name, item] of [["shows skills", "show-skills-button"], ["shows hooks", "show-hooks-button"], ["shows tools", "show-agent-tools-button"], ["shows costs", "display-cost-button"]]) {
    await step(name, async () => {
      await menu(item);
      await look(500);
    });
    await page.goto(`${origin}/conversations/${one}`);
    await shows("sent from the page").catch(() => {});
  }
  await step("deletes", async () => {
    await page.goto(`${origin}/conversations/${another}`);
    await page.getByTestId("conversation-name-title").waitFor({ timeout: 15000 });
    await menu("delete-button");
    await page.getByRole("button", { name: "Confirm Delete" }).click({ timeout: 5000 });
    await page.waitForTimeout(2000);
    return (await api("GET", `/api/conversations/${another}`)).status;
  });
}
try {
  if (asked.ids) await use(asked.ids);
  for (const [name, where] of asked.pages) {
    await page.goto(origin + where);
    await page.waitForLoadState("networkidle", { timeout: 2500 }).catch(() => {});
    await look(500);
  }
} catch (error) {
  errors.push(`script: ${error.stack}`);
  await shot("failed");
} finally {
  console.log(JSON.stringify({ steps, requests, errors, frames, toasts: [...toasts] }));
  await browser.close();
  front.close();
  process.exit(0);
}
