/**
 * `npm test`: runs every test with Node's test runner, in a home of its own, and fails if a process is left behind.
 *
 *   npm test                                   all
 *   npm test -- shared/units.test.ts           these files, folders or patterns
 */
import { spawn } from 'node:child_process'
import { globSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { environmentFor } from '../shared/options.ts'
import { endProcess, findLeftovers, newRunId, runMark } from './support/leftovers.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
export const unitPatterns = [
  'agent/**/*.test.ts',
  'control-plane/**/*.test.ts',
  'relay-server/**/*.test.ts',
  'shared/**/*.test.ts',
  'tools/**/*.test.ts',
]
/** Those of whole systems first: they take longest, and the small ones fill what is left at the end. */
export const allPatterns = ['test/**/*.test.ts', 'bench/**/*.test.ts', ...unitPatterns]

/** Milliseconds after which a run hangs: all tests together take 18 minutes on two quiet cores. */
const limitMs = 26 * 60_000

/** Tests that a pattern, a file or a folder means. */
const filesOf = (pattern: string): string[] => {
  const isFolder = statSync(join(root, pattern), { throwIfNoEntry: false })?.isDirectory() ?? false
  const found = globSync(isFolder ? `${pattern}/**/*.test.{ts,mjs}` : pattern, { cwd: root })
  return found.filter((file) => !file.includes('node_modules')).toSorted()
}

/** Runs the tests of some patterns. @returns the exit code: not 0 when a test fails or a process is left */
export const runTests = async (patterns: readonly string[]): Promise<number> => {
  const found = patterns.map((pattern) => ({ pattern, files: filesOf(pattern) }))
  const files = [...new Set(found.flatMap((one) => one.files))]
  const missing = found.find((one) => one.files.length === 0)
  if (missing !== undefined) {
    process.stderr.write(`error: there is no test ${missing.pattern}\nhint: npm test -- <file, folder or pattern>\n`)
    return 1
  }
  const runId = newRunId()
  const home = mkdtempSync(join(tmpdir(), 'mesh-test-home-'))
  try {
    const child = spawn(process.execPath, [join(root, 'test/support/run-files.ts'), ...files], {
      cwd: root,
      stdio: 'inherit',
      env: { ...environmentFor(home), [runMark]: runId },
    })
    const forward = (signal: NodeJS.Signals): void => void child.kill(signal)
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, forward)
    const timer = setTimeout(() => {
      process.stderr.write(`error: the tests did not end within ${limitMs / 60_000} minutes\n`)
      child.kill('SIGKILL') // what it leaves is named below: the file that hangs is among them
    }, limitMs)
    const code = await new Promise<number>((resolve, reject) => {
      child.on('error', reject)
      child.on('exit', (status) => resolve(status ?? 1))
    })
    clearTimeout(timer)
    const left = findLeftovers(runId)
    for (const { pid, command } of left) {
      process.stderr.write(`error: a test left process ${pid} behind: ${command}\n`)
      endProcess(pid)
    }
    return left.length > 0 && code === 0 ? 1 : code
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}

if (import.meta.main) process.exitCode = await runTests(process.argv.length > 2 ? process.argv.slice(2) : allPatterns)
