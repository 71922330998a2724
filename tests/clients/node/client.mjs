// OpenAI's client for Node in a loop with a tool, with a schema, streamed, and refused; then the same by responses.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.CLIENTS_URL, apiKey: process.env.CLIENTS_KEY, maxRetries: 0 });
const model = "helpdesk";
const messages = [{ role: "user", content: "How is the weather at sea?" }];
const parameters = { type: "object", properties: { at: { type: "string" } }, required: ["at"] };
const tools = [{ type: "function", function: { name: "weather", parameters } }];

const called = (await client.chat.completions.create({ model, messages, tools })).choices[0];
assert.equal(called.finish_reason, "tool_calls");
const results = called.message.tool_calls.map((call) => ({
  role: "tool",
  tool_call_id: call.id,
  content: `calm at ${JSON.parse(call.function.arguments).at}`,
}));
const said = await client.chat.completions.create({ model, messages: [...messages, called.message, ...results], tools });
assert.equal(said.choices[0].message.content, "calm at sea and calm at land");

const stream = client.chat.completions.stream({ model, messages, tools, stream_options: { include_usage: true } });
const whole = await stream.finalChatCompletion();
assert.deepEqual(
  whole.choices[0].message.tool_calls.map((call) => call.function.arguments),
  ['{"at": "sea"}', '{"at": "land"}'],
);
assert.equal(whole.usage.completion_tokens, 3);

const schema = { type: "object", properties: { place: { type: "string" }, degrees: { type: "integer" } } };
const response_format = { type: "json_schema", json_schema: { name: "report", schema, strict: true } };
const parsed = await client.chat.completions.parse({ model, messages, response_format });
assert.deepEqual(parsed.choices[0].message.parsed ?? JSON.parse(parsed.choices[0].message.content), {
  place: "sea",
  degrees: 4,
});

await assert.rejects(client.chat.completions.create({ model, messages, n: 99 }), (error) => {
  return error instanceof OpenAI.BadRequestError && error.param === "n";
});

const input = messages[0].content;
const functions = [{ type: "function", name: "weather", parameters, strict: false }];
const asked = await client.responses.create({ model, input, tools: functions });
const calls = asked.output.filter((item) => item.type === "function_call");
assert.deepEqual(calls.map((call) => JSON.parse(call.arguments).at), ["sea", "land"]);
const outputs = calls.map((call) => ({
  type: "function_call_output",
  call_id: call.call_id,
  output: `calm at ${JSON.parse(call.arguments).at}`,
}));
const next = { model, input: outputs, tools: functions, previous_response_id: asked.id };
const answered = await client.responses.create(next);
assert.equal(answered.output_text, "calm at sea and calm at land");

let written = "";
for await (const event of await client.responses.create({ ...next, stream: true })) {
  if (event.type === "response.output_text.delta") written += event.delta;
}
assert.equal(written, answered.output_text);

assert.equal((await client.responses.retrieve(answered.id)).output_text, answered.output_text);
const items = await client.responses.inputItems.list(answered.id);
assert.deepEqual(items.data.map((item) => item.output).sort(), ["calm at land", "calm at sea"]);
await client.responses.delete(answered.id);
await assert.rejects(client.responses.retrieve(answered.id), OpenAI.NotFoundError);
