// OpenAI's Agents SDK for JavaScript: the same scene as the Python clients play (see ../stage.py).

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession, tool } from '@openai/agents-realtime';
import { z } from 'zod';

const { REALTIME_URL, LINES } = process.env;
const PCM_HZ = 24_000;
const FRAME_MS = 40;
const FRAME_BYTES = (2 * PCM_HZ * FRAME_MS) / 1000;
const WITHIN_MS = 120_000;
const PAUSE_MS = 500;
const AHEAD_MS = 4_000;

const seen = { heard: [], said: [], tools: [], errors: [], audio_s: 0, cuts: 0 };
let playsUntil = 0;

function note(list, text) {
  if (text?.trim() && !list.includes(text)) list.push(text);
}

const has = (texts, word) => texts.some((text) => text.toLowerCase().includes(word));

const aheadMs = () => Math.max(0, playsUntil - Date.now());

async function until(what, holds) {
  const late = Date.now() + WITHIN_MS;
  while (!holds()) {
    if (Date.now() > late) throw new Error(`waited for ${what} in vain; seen: ${JSON.stringify(seen)}`);
    await sleep(10);
  }
}

const agent = new RealtimeAgent({
  name: 'Ada',
  instructions: 'You are on the telephone. Answer in short, plain sentences.',
  tools: [
    tool({
      name: 'get_weather',
      description: 'The weather in a city.',
      parameters: z.object({ city: z.string() }),
      execute: async () => 'It is sunny and warm.',
    }),
  ],
});
const transport = new OpenAIRealtimeWebSocket({ url: `${REALTIME_URL}?model=gpt-realtime` });
const session = new RealtimeSession(agent, { transport, tracingDisabled: true });

session.on('audio', (event) => {
  const seconds = event.data.byteLength / 2 / PCM_HZ;
  seen.audio_s += seconds;
  playsUntil = Math.max(playsUntil, Date.now()) + seconds * 1000;
});
session.on('audio_interrupted', () => {
  seen.cuts += 1;
  playsUntil = 0;
});
session.on('agent_tool_start', (_context, _agent, called, { toolCall }) => {
  seen.tools.push({ name: called.name, arguments: JSON.parse(toolCall.arguments) });
});
session.on('history_updated', (history) => {
  for (const item of history) {
    if (item.type !== 'message') continue;
    const text = item.content.map((part) => part.transcript ?? part.text ?? '').join(' ');
    if (item.role === 'user') note(seen.heard, text);
    else if (item.role === 'assistant' && item.status !== 'in_progress') note(seen.said, text);
  }
});
session.on('error', ({ error }) => seen.errors.push(JSON.stringify(error)));

let ahead = Buffer.alloc(0);
let open = true;

async function say(line) {
  ahead = Buffer.concat([ahead, await readFile(join(LINES, `${line}.pcm`))]);
}

async function microphone() {
  for (let due = Date.now(); open; due += FRAME_MS) {
    const frame = new Uint8Array(FRAME_BYTES);
    frame.set(ahead.subarray(0, FRAME_BYTES));
    ahead = ahead.subarray(FRAME_BYTES);
    session.sendAudio(frame.buffer);
    await sleep(Math.max(0, due + FRAME_MS - Date.now()));
  }
}

await session.connect({ apiKey: 'any' });
const speaking = microphone();
try {
  await say('weather');
  await until("the tool's answer", () => has(seen.said, 'sunny'));
  await sleep(aheadMs() + PAUSE_MS); // hears it out
  await say('story');
  await until('a long answer', () => aheadMs() > AHEAD_MS);
  const cuts = seen.cuts;
  await say('name');
  await until('its end', () => seen.cuts > cuts);
  await until('the answer to what cut in', () => has(seen.said, 'antiphon'));
  await until('the words', () => has(seen.heard, 'name')); // may come after it
  await sleep(aheadMs() + PAUSE_MS);
} finally {
  open = false;
  await speaking;
  session.close();
}
console.log(JSON.stringify(seen));
