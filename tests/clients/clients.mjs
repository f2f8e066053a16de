// OpenAI's and Anthropic's SDKs for Node against the server whose URL is the first argument; prints one JSON line.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const url = process.argv[2];
const messages = [{ role: "user", content: "What is the capital of France?" }];
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "client-key", maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: url, apiKey: "client-key", maxRetries: 0 });
const seen = {};

const chat = await openai.chat.completions.create({ model: "router-random-1", messages });
seen.chat = chat.choices[0].message.content;
seen.stream = "";
for await (const chunk of await openai.chat.completions.create({ model: "auto", messages, stream: true })) {
  seen.stream += chunk.choices[0]?.delta?.content ?? "";
}
seen.responses = (await openai.responses.create({ model: "gpt", input: "Hello" })).output_text;
seen.embedding = (await openai.embeddings.create({ model: "gpt", input: "Hello", encoding_format: "float" })).data[0].embedding;
seen.models = [];
for await (const model of openai.models.list()) seen.models.push(model.id);
try {
  await openai.chat.completions.create({ model: "router-none", messages });
} catch (error) {
  seen.error = [error.status, error.code];
}

const message = await anthropic.messages.create({ model: "router-random-0", max_tokens: 9, messages });
seen.message = message.content[0].text;
seen.messageStream = await anthropic.messages.stream({ model: "claude", max_tokens: 9, messages }).finalText();
seen.count = (await anthropic.messages.countTokens({ model: "claude", messages })).input_tokens;
try {
  await anthropic.messages.create({ model: "nobody", max_tokens: 9, messages });
} catch (error) {
  seen.messageError = [error.status, error.error.error.type];
}
console.log(JSON.stringify(seen));
