/**
 * Do the tests notice? Changes one operator at a time in each pure module, runs the tests beside it, and lists the
 * changes that none of them saw. Fails where fewer than 85 % are noticed.
 *
 *   npm run mutation                                 all modules of test/mutation/modules.ts
 *   npm run mutation -- shared/plan agent/links      those whose path begins so
 *   npm run mutation -- --mutants 100 --seed b       more of them, others
 *
 * A survivor is a place to look: a test is missing, a condition is needless, or the change means the same. What means
 * the same is named with its reason in test/mutation/same-meaning.json, and does not count.
 */
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { drawChanges, findChanges, type Change } from './changes.ts'
import { filesOf } from '../support/checkout.ts'
import { copyTree, measure, type Copy, type Module, type Outcome, type SameMeaning } from './measure.ts'
import { findModules } from './modules.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/**
 * Entries of the list that name no change of their file: it was written anew, and they may hide what nobody looked at.
 */
export const findStale = (
  same: readonly SameMeaning[],
  changes: ReadonlyMap<string, readonly Change[]>,
): SameMeaning[] =>
  same.filter(({ file, from, to }) => !changes.get(file)?.some((change) => change.from === from && change.to === to))

/** What is printed of one module. */
export const render = ({ source, noticed, tried, survivors }: Outcome): string =>
  [
    `${`${noticed}/${tried}`.padStart(6)}  ${source}`,
    ...survivors.map(({ line, from, to }) => `  survives ${source}:${line}\n    - ${from}\n    + ${to || '(nothing)'}`),
  ].join('\n')

/** Whether enough was noticed. @param least in percent */
export const isEnough = ({ noticed, tried }: Outcome, least: number): boolean => noticed * 100 >= least * tried

interface Task {
  readonly module: Module
  readonly changes: readonly Change[]
}

/** Works tasks off in as many copies of the tree at a time. @returns sources of modules that failed */
const runAll = async (tasks: readonly Task[], jobs: number, same: readonly SameMeaning[], least: number) => {
  const files = filesOf(root)
  const copies: Copy[] = []
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort(new Error(signal)))
  const rest = [...tasks]
  const failed: string[] = []
  let [noticed, tried] = [0, 0]
  const runner = async (): Promise<void> => {
    const copy = copyTree(root, files)
    copies.push(copy)
    for (let task = rest.shift(); task !== undefined && !stop.signal.aborted; task = rest.shift()) {
      try {
        const outcome = await measure(copy, task.module, task.changes, { same, signal: stop.signal })
        noticed += outcome.noticed
        tried += outcome.tried
        process.stdout.write(`${render(outcome)}\n`)
        if (!isEnough(outcome, least)) failed.push(task.module.source)
      } catch (error) {
        process.stdout.write(`error: ${(error as Error).message}\n`)
        failed.push(task.module.source)
      }
    }
  }
  try {
    await Promise.all(Array.from({ length: jobs }, runner))
  } finally {
    for (const copy of copies) copy.remove()
  }
  process.stdout.write(`${noticed} of ${tried} changes were noticed\n`)
  return failed
}

const main = async (): Promise<number> => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      mutants: { type: 'string', default: '40' },
      seed: { type: 'string', default: '1' },
      jobs: { type: 'string', default: String(availableParallelism()) },
      least: { type: 'string', default: '85' },
    },
  })
  const modules = findModules(root).filter(
    ({ source }) => positionals.length === 0 || positionals.some((begin) => source.startsWith(begin)),
  )
  if (modules.length === 0) {
    process.stderr.write('error: no such module\nhint: test/mutation/modules.ts says which there are\n')
    return 2
  }
  const found = findChanges(
    root,
    modules.map(({ source }) => join(root, source)),
  )
  const changes = new Map(modules.map(({ source }) => [source, found.get(join(root, source))!]))
  const list = JSON.parse(readFileSync(join(root, 'test/mutation/same-meaning.json'), 'utf8')) as SameMeaning[]
  const same = list.filter(({ file }) => positionals.length === 0 || changes.has(file))
  const tasks = modules.map((module) => ({
    module,
    changes: drawChanges(changes.get(module.source)!, Number(values.mutants), values.seed),
  }))
  const failed = await runAll(tasks, Number(values.jobs), same, Number(values.least))
  const stale = findStale(same, changes)
  for (const { file, from } of stale) process.stderr.write(`error: ${file} has no such change any more: ${from}\n`)
  for (const source of failed) process.stderr.write(`error: too little is noticed: ${source}\n`)
  return failed.length + stale.length > 0 ? 1 : 0
}

if (import.meta.main) process.exitCode = await main()
