#!/usr/bin/env node
// The npm compiler behind the two calls that crytic-compile makes of `solc`: --version and --standard-json.
"use strict";
const fs = require("fs");
const path = require("path");
const solc = require(path.join(__dirname, "../../../contracts/node_modules/solc"));

function write(text) {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += fs.writeSync(1, bytes, at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error; // a full pipe
    }
  }
}

if (process.argv.includes("--version")) write(`solc, the solidity compiler\nVersion: ${solc.version()}\n`);
else write(solc.compile(fs.readFileSync(0, "utf8")));
