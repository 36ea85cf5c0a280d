// Uses @openhands/typescript-client with a server. Prints one JSON line for each step: {"step", "found"}.
// The first line of standard input says what to use.
import { createInterface } from "node:readline";
import WebSocket from "ws";

// In Node the client finds no WebSocket but a browser's. This one keeps the socket, because the client sends nothing over it.
let socket;
class KeptSocket extends WebSocket {
  constructor(url) {
    super(url);
    socket = this;
  }
}
globalThis.window = { WebSocket: KeptSocket };
const { ConversationManager, RemoteEventsList, WebSocketCallbackClient } = await import("@openhands/typescript-client");

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const asked = JSON.parse((await lines.next()).value);
const manager = new ConversationManager({ host: asked.url, apiKey: asked.key });
const events = new RemoteEventsList({ baseUrl: asked.url, apiKey: asked.key }, asked.id);
const tell = (step, found) => console.log(JSON.stringify({ step, found }));

async function readPages(search) {
  const pages = [];
  let page_id;
  do {
    const page = await search(page_id);
    pages.push(page.items);
    page_id = page.next_page_id;
  } while (page_id);
  return pages;
}

async function refusal(request) {
  try {
    await request;
  } catch (error) {
    return { status: error.status, answer: error.response };
  }
  return null;
}

const frames = [];
async function heard(test) {
  for (const until = Date.now() + 20000; Date.now() < until; await new Promise((done) => setTimeout(done, 20))) {
    const found = frames.find(test);
    if (found) return found;
  }
  throw new Error(`No such frame came. These came: ${JSON.stringify(frames).slice(0, 3000)}`);
}
const says = (text) => (frame) => frame.kind === "MessageEvent" && frame.llm_message.content[0].text === text;
const message = (text) => ({ role: "user", content: [{ type: "text", text }] });

tell("server", (await manager.server.getServerInfo()).version);
tell("lists", await readPages((page_id) => manager.searchConversations({ limit: 10, sort_order: "UPDATED_AT_DESC", page_id })));
tell("lists by status", await readPages((page_id) => manager.searchConversations({ status: "finished", page_id })));
tell("counts", [await manager.countConversations(), await manager.countConversations({ status: "finished" })]);
tell("gets", await manager.getConversation(asked.id));
tell("gets some", await manager.getConversations([asked.id, asked.missing]));
tell("gets none", await refusal(manager.getConversation(asked.missing)));
const pages = await readPages((page_id) => events.search({ limit: 7, page_id }));
tell("pages events", pages);
tell("pages events from the end", await readPages((page_id) => events.search({ limit: 7, sort_order: "TIMESTAMP_DESC", page_id })));
tell("filters events", await readPages((page_id) => events.search({ kind: "MessageEvent", source: "agent", page_id })));
tell("counts events", [await events.count(), await events.count({ kind: "MessageEvent" }), await events.count({ body: "SEARCH" })]);
tell("reads all events", await events.getEvents());
tell("gets an event", await events.getEventsById([pages[0][0].id, asked.missing]));

const live = new WebSocketCallbackClient({ host: asked.url, apiKey: asked.key, conversationId: asked.id, callback: (frame) => frames.push(frame) });
live.start();
tell("opens the socket", await heard((frame) => frame.kind === "ConversationStateUpdateEvent"));
tell("hears another process", await heard(says(asked.another)));
socket.send(JSON.stringify(message(asked.sent)));
tell("hears what it sent", await heard(says(asked.sent)));
tell("finds what it sent", (await events.search({ body: asked.sent })).items);
await manager.updateConversation(asked.id, { title: "renamed by the client" });
tell("renames", (await manager.getConversation(asked.id)).title);
await manager.deleteConversation(asked.id);
tell("deletes", await refusal(manager.getConversation(asked.id)));
live.stop();
tell("frames", frames);
process.exit(0);
