/**
 * The shape of the code in figures; nothing fails here, lint has the limits.
 *
 *   npm run structure                    rooms and which uses which, loops between them, lines, the largest files
 *   npm run structure -- --step          also a demo under the profiler: the rooms that a step passes, in their order
 *   npm run structure -- --root FOLDER   the same of another checkout, which has its dependencies installed
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { usesOf } from './support/imports.ts'
import { loopsIn, roomOf } from './support/rooms.ts'
import { profiledWays } from './support/step-ways.ts'

const mostColumns = 120
const say = (text: string): void => void process.stdout.write(`${text}\n`)

const filesOf = (root: string): string[] =>
  execFileSync('git', ['ls-files'], { cwd: root, encoding: 'utf8' })
    .split('\n')
    .filter((file) => /\.m?[tj]s$/.test(file))

const isTest = (file: string): boolean => /\.test\.ts$|(?:^|\/)test\/|contract\.ts$/.test(file)

/** Which room uses which, by how many imports; tests left out, types too. */
const roomGraph = (root: string, files: readonly string[]): Map<string, Map<string, number>> => {
  const graph = new Map<string, Map<string, number>>()
  for (const file of files.filter((path) => !isTest(path))) {
    const from = roomOf(file)
    if (from === undefined) continue
    const uses = graph.get(from) ?? new Map<string, number>()
    graph.set(from, uses)
    for (const to of usesOf(root, file, 'imports').files.map(roomOf))
      if (to !== undefined && to !== from && to !== 'shared') uses.set(to, (uses.get(to) ?? 0) + 1)
  }
  return graph
}

const printRooms = (root: string, files: readonly string[]): void => {
  const graph = roomGraph(root, files)
  say('rooms, and the rooms that each uses (imports, types too; tests and files beside the rooms of shared left out)')
  for (const [room, uses] of [...graph].toSorted(([a], [b]) => a.localeCompare(b))) {
    const list = [...uses].toSorted(([a], [b]) => a.localeCompare(b)).map(([to, count]) => `${to} ${count}`)
    say(`  ${room.padEnd(24)} ${list.join(', ') || '-'}`)
  }
  const loops = loopsIn(graph)
  say(`loops between rooms: ${loops.length === 0 ? 'none' : ''}`)
  for (const loop of loops) say(`  ${loop.join(' <-> ')}`)
}

const printLines = (root: string, files: readonly string[]): void => {
  const all = files.map((file) => ({ file, lines: readFileSync(join(root, file), 'utf8').trimEnd().split('\n') }))
  const lines = all.flatMap(({ file, lines: own }) => own.map((text, index) => ({ at: `${file}:${index + 1}`, text })))
  const wide = lines.filter(({ text }) => text.length > mostColumns)
  const longest = lines.reduce((a, b) => (b.text.length > a.text.length ? b : a))
  const share = ((100 * wide.length) / lines.length).toFixed(2)
  say(`lines: ${lines.length} in ${all.length} files; ${wide.length} (${share} %) over ${mostColumns} columns`)
  say(`longest line: ${longest.text.length} columns, ${longest.at}`)
  say('largest files (lines)')
  for (const { file, lines: own } of all.toSorted((a, b) => b.lines.length - a.lines.length).slice(0, 10))
    say(`  ${String(own.length).padStart(5)}  ${file}`)
}

/** Rooms by the calls that the profiler saw. */
const printStep = async (root: string): Promise<void> => {
  const ways = await profiledWays(root)
  say('rooms that a step passes, outermost call first (samples of all processes of a demo)')
  for (const { rooms, samples } of ways.slice(0, 12)) say(`  ${String(samples).padStart(6)}  ${rooms.join(' > ')}`)
  const twice = ways.filter(({ rooms }) => new Set(rooms).size < rooms.length)
  say(`ways that enter a room twice: ${twice.length === 0 ? 'none' : ''} (of ${ways.length})`)
  for (const { files, samples } of twice) say(`  ${String(samples).padStart(6)}  ${files.join(' > ')}`)
}

const { values } = parseArgs({ options: { root: { type: 'string' }, step: { type: 'boolean', default: false } } })
const root = values.root === undefined ? dirname(dirname(fileURLToPath(import.meta.url))) : resolve(values.root)
const files = filesOf(root)
printRooms(root, files)
printLines(root, files)
if (values.step) await printStep(root)
