// OpenAI's client for Node in a loop with a tool, with a schema, streamed, and refused.
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
