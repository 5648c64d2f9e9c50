/**
 * How long commands take, from their start to their end: `node bench/commands.ts [TREE ...] [--runs N]`.
 *
 * For each tree (a clone with its node_modules; default: this one) a control plane and an agent with the bundled
 * model run, each with the code of its tree; then `--version`, `status` and an `inference` of one token are run in
 * turn, tree by tree, so that a machine whose speed drifts slows all of them. Figures are milliseconds, as median with
 * least and most; ratios are taken round by round over the first tree.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { environmentFor } from '../shared/options.ts'
import { show, spread } from './spread.ts'

const { values, positionals } = parseArgs({
  options: { runs: { type: 'string', default: '11' } },
  allowPositionals: true,
})
const runs = Number(values.runs)
if (!Number.isInteger(runs) || runs < 1)
  throw new RangeError(`--runs wants a whole number above zero, got ${values.runs}`)
const trees =
  positionals.length > 0 ? positionals.map((tree) => resolve(tree)) : [dirname(dirname(fileURLToPath(import.meta.url)))]

/** What is timed: to be answered by an agent that runs. */
const commands: Readonly<Record<string, readonly string[]>> = {
  '--version': ['--version'],
  status: ['status'],
  inference: ['inference', '--prompt', 'Once upon a time', '--max-tokens', '1', '--temperature', '0'],
}

/** Node and its arguments for a program of a tree, and its environment, as the wrapper of install.sh has them. */
const programOf = (
  tree: string,
  file: string,
  home: string,
): { readonly node: string; readonly args: string[]; readonly env: NodeJS.ProcessEnv } => {
  const { config } = JSON.parse(readFileSync(join(tree, 'package.json'), 'utf8')) as {
    config?: { nodeFlags?: string[] }
  }
  return {
    node: join(tree, 'node_modules', 'node', 'bin', 'node'),
    args: [...(config?.nodeFlags ?? []), join(tree, file)],
    env: { ...environmentFor(home), NODE_COMPILE_CACHE: join(tree, '.cache', 'compiled') },
  }
}

/** Runs a command to its end. @returns milliseconds; @throws Error when it fails */
const timed = async (tree: string, home: string, args: readonly string[]): Promise<number> => {
  const { node, args: before, env } = programOf(tree, join('agent', 'main.ts'), home)
  const started = performance.now()
  const child = spawn(node, [...before, ...args], { env, stdio: ['ignore', 'ignore', 'pipe'] })
  let problem = ''
  child.stderr.setEncoding('utf8').on('data', (part: string) => (problem += part))
  const code = await new Promise((end) => child.on('close', end))
  if (code !== 0) throw new Error(`mesh ${args.join(' ')} of ${tree} ended with ${String(code)}: ${problem}`)
  return performance.now() - started
}

const stops: (() => Promise<unknown>)[] = []

/** Starts a program and waits for its ready line. */
const serve = async (
  tree: string,
  home: string,
  file: string,
  args: readonly string[],
): Promise<Record<string, unknown>> => {
  const { node, args: before, env } = programOf(tree, file, home)
  const child = spawn(node, [...before, ...args], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise((end) => child.on('close', end))
  stops.push(() => {
    child.kill()
    return ended
  })
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.includes('"event":"ready"')) return JSON.parse(line) as Record<string, unknown>
  }
  throw new Error(`${file} of ${tree} ended before it was ready`)
}

/** A device that serves the bundled model to itself. @returns its home */
const setUp = async (tree: string, home: string): Promise<string> => {
  const quiet = ['--json', '--log-level', 'error']
  const { url } = await serve(tree, home, join('control-plane', 'main.ts'), ['--port', '0', ...quiet])
  await timed(tree, home, ['init', '--network-id', 'home', '--name', 'bench', '--control-plane', String(url)])
  await timed(tree, home, ['pool-create', '--name', 'home'])
  await timed(tree, home, ['join-ring', '--model-id', 'tiny-story'])
  await serve(tree, home, join('agent', 'main.ts'), ['start', '--threads', '1', ...quiet])
  return home
}

const folder = mkdtempSync(join(tmpdir(), 'mesh-commands-'))
try {
  const homes: string[] = []
  for (const [index, tree] of trees.entries()) homes.push(await setUp(tree, join(folder, String(index))))
  const measured = trees.map(() => new Map(Object.keys(commands).map((name): [string, number[]] => [name, []])))
  for (let round = 0; round <= runs; round++) {
    for (const [name, args] of Object.entries(commands)) {
      for (const [index, tree] of trees.entries()) {
        const ms = await timed(tree, homes[index], args)
        if (round > 0) measured[index].get(name)?.push(ms) // the first fills caches of compiled code and of pages
      }
    }
  }
  for (const name of Object.keys(commands)) {
    const first = measured[0].get(name) ?? []
    for (const [index, tree] of trees.entries()) {
      const all = measured[index].get(name) ?? []
      const ratio = index === 0 ? '' : `, ${show(spread(all.map((ms, run) => ms / first[run])), 2)} times the first`
      process.stdout.write(`${name}  ${tree}: ${show(spread(all), 0)} ms${ratio}\n`)
    }
  }
} finally {
  for (const stop of stops.toReversed()) await stop()
  rmSync(folder, { recursive: true, force: true })
}
