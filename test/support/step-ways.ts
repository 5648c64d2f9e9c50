/** The rooms that a step of a real ring passes, as V8's profiler sees its calls. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { environmentFor } from '../../shared/options.ts'
import { roomOf } from './rooms.ts'

interface ProfileNode {
  readonly id: number
  readonly hitCount: number
  readonly children?: readonly number[]
  readonly callFrame: { readonly url: string }
}

interface Place {
  readonly room: string
  readonly file: string
}

/** Rooms that one call after the other was in, the outermost first, and in how many samples. */
export interface Way {
  readonly rooms: readonly string[]
  /** The files in which they were entered. */
  readonly files: readonly string[]
  readonly samples: number
}

/** Rooms that tensors pass; what only starts, plans or answers is not a step. */
const roomsOfTensors =
  /^agent\/(?:generation|checks|rank|carrier|compute|links|engine|collective|channel|sockets|network)/

/** @param placeAt room and file of a URL; `undefined`: not ours, or in none */
export const waysIn = (nodes: readonly ProfileNode[], placeAt: (url: string) => Place | undefined): Way[] => {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const ways: Way[] = []
  const visit = (node: ProfileNode, before: readonly Place[]): void => {
    const place = placeAt(node.callFrame.url)
    const places = place === undefined || place.room === before.at(-1)?.room ? before : [...before, place]
    if (node.hitCount > 0 && places.length > 0)
      ways.push({
        rooms: places.map(({ room }) => room),
        files: places.map(({ file }) => file),
        samples: node.hitCount,
      })
    for (const id of node.children ?? []) visit(byId.get(id)!, places)
  }
  visit(nodes[0], [])
  return ways
}

/** The same way of several samples once, the most frequent first; of the files those of its most frequent form. */
const merged = (ways: readonly Way[]): Way[] => {
  const found = new Map<string, Way>()
  for (const way of ways.toSorted((a, b) => b.samples - a.samples)) {
    const { samples = 0, files = way.files } = found.get(way.rooms.join(' ')) ?? {}
    found.set(way.rooms.join(' '), { rooms: way.rooms, files, samples: samples + way.samples })
  }
  return [...found.values()].toSorted((a, b) => b.samples - a.samples)
}

/**
 * Runs the demo of a checkout, every process of it under the profiler.
 * @param root of a checkout with its dependencies
 */
export const profiledWays = async (root: string): Promise<Way[]> => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-ways-'))
  try {
    const flags = `--cpu-prof --cpu-prof-interval=200 --cpu-prof-dir=${folder}`
    await promisify(execFile)(process.execPath, ['agent/main.ts', 'demo', '--json', '--max-tokens', '200'], {
      cwd: root,
      env: { ...environmentFor(join(folder, 'home')), NODE_OPTIONS: flags, NODE_COMPILE_CACHE: undefined },
      maxBuffer: 2 ** 24,
    })
    const placeAt = (url: string): Place | undefined => {
      if (!url.startsWith('file:') || url.includes('/node_modules/')) return undefined
      const file = relative(root, fileURLToPath(url)).replaceAll('\\', '/')
      const room = roomOf(file)
      return room !== undefined && roomsOfTensors.test(room) ? { room, file } : undefined
    }
    return merged(
      readdirSync(folder)
        .filter((file) => file.endsWith('.cpuprofile'))
        .flatMap((file) =>
          waysIn((JSON.parse(readFileSync(join(folder, file), 'utf8')) as { nodes: ProfileNode[] }).nodes, placeAt),
        ),
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
