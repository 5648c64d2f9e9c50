#!/usr/bin/env node
/**
 * The command `mesh` of the npm package: installs what is missing, if npm was told to run no scripts, then runs with
 * the Node that Mesh is tested with.
 */
process.argv.splice(2, 0, '--production', 'agent/main.js')
await import('./setup.mjs')
