// transformers.js: ids by AutoTokenizer, and answers by the graphs that optimum made.
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [exports_, out, home] = process.argv.slice(2);
const require = createRequire(pathToFileURL(path.join(home, "package.json")));
const js = await import(pathToFileURL(path.join(home, "node_modules/@huggingface/transformers/dist/transformers.node.mjs")));
const read = (name) => JSON.parse(fs.readFileSync(path.join(exports_, name), "utf8"));
const [members, texts] = [read("members.json"), read("texts.json")];
const { version } = JSON.parse(fs.readFileSync(path.join(home, "node_modules/@huggingface/transformers/package.json"), "utf8"));
js.env.allowRemoteModels = false;
js.env.localModelPath = exports_;
const graphs = path.join(path.dirname(out), "optimum.graphs");
const HEADS = { label: js.AutoModelForSequenceClassification, tag: js.AutoModelForTokenClassification };

async function ids(name) {
  const tokenizer = await js.AutoTokenizer.from_pretrained(name);
  return texts.map((text) => tokenizer.encode(text));
}

async function answers(name, kind) {
  if (!fs.existsSync(path.join(graphs, name, "model.onnx"))) throw new Error("no graph: optimum makes none of it");
  const at = path.join(exports_, name, "onnx");
  fs.mkdirSync(at, { recursive: true });
  fs.copyFileSync(path.join(graphs, name, "model.onnx"), path.join(at, "model.onnx"));
  const tokenizer = await js.AutoTokenizer.from_pretrained(name);
  const model = await (HEADS[kind] ?? js.AutoModel).from_pretrained(name, { dtype: "fp32" });
  const found = [];
  for (const text of texts) {
    const output = await model(tokenizer(text));
    found.push(Array.from((output.logits ?? output.last_hidden_state).data));
  }
  return found;
}

const found = {};
for (const [name, member] of Object.entries(members)) {
  found[name] = {};
  const kind = Object.keys(HEADS).find((head) => member.answers.includes(head)) ?? "states";
  for (const [question, what, ask] of [["AutoTokenizer", "ids", () => ids(name)], ["AutoModel", kind, () => answers(name, kind)]]) {
    try {
      found[name][question] = { kind: what, answers: await ask() };
    } catch (error) {
      found[name][question] = { kind: what, refused: String(error.message ?? error).split("\n")[0].slice(0, 200) };
    }
  }
  console.log(name, JSON.stringify(Object.fromEntries(Object.entries(found[name]).map(([q, a]) => [q, a.refused ?? "answered"]))));
}
fs.writeFileSync(out, JSON.stringify({ versions: { "transformers.js": version }, members: found }));
