// node build.mjs OUT: builds app.js into a component, without anything of WASI, which it does not use.
import { readFile, writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const here = new URL(".", import.meta.url).pathname;
const { component } = await componentize(await readFile(`${here}app.js`, "utf8"), {
  witPath: `${here}example.wit`,
  worldName: "people",
  disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
});
await writeFile(process.argv[2], component);
