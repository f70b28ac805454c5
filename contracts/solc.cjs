// Compiles a standard-JSON file to a file: node solc.cjs INPUT OUTPUT. Through a file, as a pipe truncates.
"use strict";
const fs = require("fs");
const solc = require("solc");
const [input, output] = process.argv.slice(2);
fs.writeFileSync(output, solc.compile(fs.readFileSync(input, "utf8")));
