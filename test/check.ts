/**
 * `npm run check`: types, format, lint, generated docs, unit tests; stops at the first that fails.
 *
 *   npm run check                               all of them
 *   npm run check -- types format lint docs     these
 */
import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runTests, unitPatterns } from './run.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

const node = (script: string, ...args: string[]): number =>
  spawnSync(process.execPath, [join(root, script), ...args], { cwd: root, stdio: 'inherit' }).status ?? 1

const checks: Readonly<Record<string, () => number | Promise<number>>> = {
  types: () => node('node_modules/typescript/bin/tsc', '-p', '.'),
  format: () => node('node_modules/oxfmt/bin/oxfmt', '--list-different'),
  lint: () => node('node_modules/oxlint/bin/oxlint', '--deny-warnings', '--report-unused-disable-directives'),
  docs: () => node('test/docs.ts', '--check'),
  tests: () => runTests(unitPatterns),
}

const runChecks = async (names: readonly string[]): Promise<number> => {
  for (const name of names) {
    if (!(name in checks)) {
      process.stderr.write(`error: there is no check ${name}\nhint: one of ${Object.keys(checks).join(', ')}\n`)
      return 2
    }
    process.stdout.write(`--- ${name}\n`)
    const code = await checks[name]()
    if (code !== 0) {
      process.stderr.write(`error: ${name} failed\n`)
      return code
    }
  }
  return 0
}

process.exitCode = await runChecks(process.argv.length > 2 ? process.argv.slice(2) : Object.keys(checks))
